"""Data on its way into a repository: screened within the commit, then as a whole, and given out only when it is clear."""

from typing import Any

import pytest

from hub.common.errors import EntryNotFound, RevisionNotFound, Withheld
from hub.common.models import Job
from hub.community.models import Notification
from hub.repos.models import Content
from hub.repos.places import pair
from moderation.models import AuditEntry, Case, Finding, Screening
from moderation.rules.reasons import IN_PROGRESS
from tests.moderation.scenes import (
    PICKLE,
    ROWS,
    SECRET,
    bring,
    content_at,
    is_public_object,
    make_repo,
    reader,
    run_jobs,
    weights,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tides(alice: Any) -> Any:
    return make_repo("dataset", "tides", alice.user)


def test_an_ordinary_upload_is_public_at_once(alice: Any, tides: Any) -> None:
    made = bring(tides, alice.user, {"train.jsonl": ROWS, "model.safetensors": weights()})
    stranger = reader(tides)
    commit = stranger.resolve("main")
    assert commit == made.revision.commit
    assert stranger.read_text(commit, "train.jsonl") == ROWS.decode()
    assert b"".join(stranger.read_entry(commit, stranger.entry(commit, "model.safetensors"))) == weights()
    screening = Screening.objects.get(repo=tides, commit=commit)
    assert screening.is_quick and screening.state == Screening.State.PASSED and not Case.objects.exists()


def test_a_secret_is_withheld_and_its_owner_reads_why(alice: Any, tides: Any) -> None:
    before = pair(tides).public.read_ref("refs/heads/main")
    bad = bring(tides, alice.user, {"notes.txt": f"key = {SECRET}\n".encode()}).revision
    content = content_at(tides, "notes.txt")
    assert content.clearance == Content.Clearance.WITHHELD
    assert "notes.txt:1" in content.reason and SECRET not in content.reason

    owner = reader(tides, alice.user)
    assert owner.read_text(owner.resolve("main"), "notes.txt").startswith("key = ")
    assert owner.clearance(bad.commit, [owner.entry(bad.commit, "notes.txt")])["notes.txt"].reason == content.reason
    finding = Finding.objects.get(content=content, severity="block")
    assert finding.screen == "secrets" and SECRET not in finding.excerpt + finding.message

    stranger = reader(tides)
    assert stranger.resolve("main") == before
    with pytest.raises(RevisionNotFound):
        stranger.resolve(bad.commit)
    with pytest.raises(EntryNotFound):
        stranger.entry(stranger.resolve("main"), "notes.txt")
    assert not is_public_object(tides, bad.commit)
    assert not is_public_object(tides, content.digest.removeprefix("git:"))
    told = Notification.objects.get(user=alice.user)
    assert "notes.txt" in told.text and told.path == f"/moderation/cases/{Case.objects.get().pk}"


def test_what_follows_a_withheld_commit_stays_hidden_with_it(alice: Any, tides: Any) -> None:
    bring(tides, alice.user, {"notes.txt": SECRET.encode()})
    bring(tides, alice.user, {"fine.txt": b"fine"})
    stranger = reader(tides)
    assert [entry.path for entry in stranger.tree(stranger.resolve("main"))] == [".gitattributes"]
    assert not is_public_object(tides, content_at(tides, "fine.txt").digest.removeprefix("git:"))


def test_a_pickle_is_kept_and_withheld_by_itself(alice: Any, tides: Any) -> None:
    made = bring(tides, alice.user, {"training_args.bin": PICKLE, "train.jsonl": ROWS}).revision
    stranger = reader(tides)
    assert stranger.resolve("main") == made.commit
    assert stranger.read_text(made.commit, "train.jsonl") == ROWS.decode()
    with pytest.raises(Withheld, match=r"training_args\.bin"):
        stranger.read_entry(made.commit, stranger.entry(made.commit, "training_args.bin"))
    owner = reader(tides, alice.user)
    assert b"".join(owner.read_entry(made.commit, owner.entry(made.commit, "training_args.bin"))) == PICKLE
    assert Case.objects.get().severity == 3


def test_a_pointer_with_more_lines_than_git_lfs_writes_is_screened_as_text(alice: Any, tides: Any) -> None:
    """Git brings such a pointer as it is; its extension lines could carry anything past the screens."""
    from hub.repos.blobs import record_upload, store
    from hub.repos.commits import create_commit
    from hub.storage.git import AddFile

    stored = store().add([ROWS])
    record_upload(repo=tides, by=alice.user, stored=stored)
    text = "version https://git-lfs.github.com/spec/v1\n"
    text += f"ext-0-x {SECRET}\noid sha256:{stored.sha256}\nsize {stored.size}\n"
    operations = [AddFile("train.jsonl", text.encode())]
    create_commit(repo=tides, by=alice.user, ref="refs/heads/main", operations=operations, title="Push", door="git")
    small = Content.objects.get(repo=tides, digest__startswith="git:", path="train.jsonl")
    assert small.clearance == Content.Clearance.WITHHELD


def test_a_broken_quick_screen_leaves_the_file_closed_and_the_job_opens_it(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import content_screening

    with monkeypatch.context() as patch:
        patch.setattr(content_screening, "screen_file", lambda *_, **__: 1 / 0)
        bring(tides, alice.user, {"train.jsonl": ROWS})
    content = content_at(tides, "train.jsonl")
    assert (content.clearance, content.reason) == (Content.Clearance.PENDING, IN_PROGRESS)
    assert not Case.objects.exists()
    run_jobs("moderation.screen_data")
    content.refresh_from_db()
    assert content.clearance == Content.Clearance.CLEARED
    assert reader(tides).read_text(reader(tides).resolve("main"), "train.jsonl") == ROWS.decode()


def test_what_the_quick_screen_has_no_time_for_waits_for_the_job_without_a_case(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import screening

    monkeypatch.setattr(screening, "QUICK_BUDGET_S", 0.0)
    bring(tides, alice.user, {"train.jsonl": ROWS})
    assert content_at(tides, "train.jsonl").reason == IN_PROGRESS and not Case.objects.exists()
    run_jobs("moderation.screen_data")
    assert content_at(tides, "train.jsonl").clearance == Content.Clearance.CLEARED


def test_a_commit_too_large_for_the_two_seconds_does_not_use_them_up(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import screening

    monkeypatch.setattr(screening, "PROBE", 2)
    files = {f"{number}.txt": f"Tide {number}\n".encode() for number in range(4)}
    bring(tides, alice.user, files)  # four take no two seconds
    assert {content_at(tides, path).clearance for path in files} == {Content.Clearance.CLEARED}
    monkeypatch.setattr(screening, "is_within_reach", lambda files, deadline: False)
    later = {f"later-{number}.txt": f"Ebb {number}\n".encode() for number in range(4)}
    bring(tides, alice.user, later)
    assert sorted(content_at(tides, path).reason for path in later) == ["", "", IN_PROGRESS, IN_PROGRESS]
    run_jobs("moderation.screen_data")
    assert {content_at(tides, path).clearance for path in later} == {Content.Clearance.CLEARED}


def test_the_first_files_tell_whether_two_seconds_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.screening import screening

    monkeypatch.setattr(screening.time, "monotonic", lambda: 100.0)
    after = 100.0 + screening.QUICK_BUDGET_S - 0.1  # the first fifty took a tenth of a second
    assert screening.is_within_reach(999, after) and not screening.is_within_reach(1001, after)


def test_a_later_finding_withdraws_what_was_public(alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.screening import content_screening
    from moderation.screens import Finding as Found

    first = bring(tides, alice.user, {"a.txt": b"an ordinary line"}).revision
    second = bring(tides, alice.user, {"b.txt": b"doubtful"}).revision
    oid = content_at(tides, "b.txt").digest.removeprefix("git:")
    assert reader(tides).resolve("main") == second.commit and is_public_object(tides, oid)

    held = Found("harmful_text", "threat", "hold", "b.txt:1", "…", "b.txt:1 threatens somebody; a moderator reads it.")
    full = lambda name, *_, quick, **__: [held] if name == "b.txt" and not quick else []  # noqa: E731
    monkeypatch.setattr(content_screening, "screen_file", full)
    run_jobs("moderation.screen_data")

    assert reader(tides).resolve("main") == first.commit
    with pytest.raises(RevisionNotFound):
        reader(tides).resolve(second.commit)
    assert not is_public_object(tides, oid) and not is_public_object(tides, second.commit)
    assert Case.objects.get().title == held.message
    assert reader(tides, alice.user).resolve("main") == second.commit


def test_the_full_screen_closes_a_case_that_it_does_not_confirm(
    alice: Any, tides: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import content_screening
    from moderation.screens import Finding as Found

    doubt = Found("unsafe_files", "odd", "hold", "a.txt", "…", "a.txt looks odd; the full check reads it.")
    monkeypatch.setattr(content_screening, "screen_file", lambda *_, quick, **__: [doubt] if quick else [])
    bring(tides, alice.user, {"a.txt": b"text"})
    assert Case.objects.get().state == Case.State.OPEN
    run_jobs("moderation.screen_data")
    assert Case.objects.get().state == Case.State.RESOLVED
    assert content_at(tides, "a.txt").clearance == Content.Clearance.CLEARED
    assert not Finding.objects.exists()


def test_forgotten_content_is_screened_late_and_only_once_at_a_time(alice: Any, tides: Any) -> None:
    from moderation.screening.screening import screen_forgotten

    bring(tides, alice.user, {"train.jsonl": ROWS})
    Content.objects.filter(path="train.jsonl").update(clearance="pending", reason="")  # as a crash leaves it
    Finding.objects.all().delete()
    Job.objects.all().delete()
    assert screen_forgotten(older_than_s=3600) == 0
    assert screen_forgotten(older_than_s=0) == 1
    assert screen_forgotten(older_than_s=0) == 0  # its job waits already
    run_jobs("moderation.screen_data")
    assert content_at(tides, "train.jsonl").clearance == Content.Clearance.CLEARED
    assert screen_forgotten(older_than_s=0) == 0


def test_a_file_on_which_the_screens_break_for_good_comes_before_a_person(
    alice: Any, tides: Any, mona: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hub.common import jobs
    from moderation.screening import content_screening, screening

    monkeypatch.setattr(content_screening, "screen_file", lambda *_, **__: 1 / 0)
    bring(tides, alice.user, {"train.jsonl": ROWS})
    job = Job.objects.get(kind="moderation.screen_data", payload__revision_id=tides.revisions.latest("pk").pk)
    for _ in range(job.max_attempts):
        Job.objects.filter(pk=job.pk).update(not_before=None)
        jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == Job.State.FAILED
    case = Case.objects.get()
    assert case.title.startswith("train.jsonl could not be screened") and case.state == Case.State.OPEN
    assert content_at(tides, "train.jsonl").reason == "It could not be screened; a moderator looks at it."
    assert screening.screen_forgotten(older_than_s=0) == 0
    assert Notification.objects.filter(user=mona.user).count() == 1


def test_a_card_that_reserves_all_rights_is_held(alice: Any, tides: Any) -> None:
    bring(tides, alice.user, {"README.md": b"---\nlicense: other\nlicense_name: all rights reserved\n---\n# Mine\n"})
    content = content_at(tides, "README.md")
    assert content.clearance == Content.Clearance.PENDING and "reserves all rights" in content.reason


def test_a_private_repository_is_screened_too_and_has_no_public_half(alice: Any) -> None:
    mine = make_repo("dataset", "mine", alice.user, {"a.txt": SECRET.encode()}, is_private=True)
    assert content_at(mine, "a.txt").clearance == Content.Clearance.WITHHELD
    assert pair(mine).public.refs() == {}
    entry = AuditEntry.objects.get(action="content.withheld")
    assert not entry.is_public
