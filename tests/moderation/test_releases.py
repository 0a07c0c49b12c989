"""A release: approved by two people without a stake, signed, tagged for good, and taken back in public when need be."""

import copy
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, RepoNotFound, RevisionNotFound, Withheld
from hub.community.models import Notification
from hub.repos.models import Content, RepoCollaborator, RepoRelease
from hub.repos.places import pair
from hub.repos.refs import create_branch, create_tag, delete_tag
from moderation import audit, manifests, publishing, signing
from moderation.models import AuditEntry, Release, ReleaseApproval
from moderation.policy import AWAITS_RELEASE, NEEDED_APPROVALS, QUARANTINED
from moderation.publishing import finish_interrupted, publish, set_state
from moderation.releases import (
    approve,
    find_release,
    propose_release,
    publish_unreviewed,
    refuse,
    visible_releases,
    why_not_approve,
)
from tests.moderation.scenes import Workshop, bring, content_at, is_public_object, reader, weights
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def proposed(releasable: Workshop) -> Release:
    """Alice proposed 1.0.0; Bob and Dora may approve."""
    return propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")


@pytest.fixture
def published(proposed: Release, bob: Person, dora: Person) -> Release:
    approve(release=proposed, by=bob.user)
    return approve(release=proposed, by=dora.user, digest=proposed.digest)


def read_weights(repo: Any, revision: str, user: Any = None) -> bytes:
    who = reader(repo, user)
    commit = who.resolve(revision)
    return b"".join(who.read_entry(commit, who.entry(commit, "model.safetensors")))


# --- approving


def test_two_approvals_publish_and_strangers_read_the_tag(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    repo = releasable.model
    for revision in ("v1.0.0", "stable", proposed.commit):
        with pytest.raises(RevisionNotFound):
            reader(repo).resolve(revision)
    assert approve(release=proposed, by=bob.user, text="I read the samples.").state == "proposed"
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") is None
    release = approve(release=proposed, by=dora.user)
    assert (release.state, release.is_reviewed) == ("published", True)
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") == release.commit
    for revision in ("v1.0.0", "stable", "main"):
        assert reader(repo).resolve(revision) == release.commit
        assert read_weights(repo, revision) == weights(1)
    assert content_at(repo, "model.safetensors").clearance == Content.Clearance.CLEARED
    row = RepoRelease.objects.get()
    assert (row.tag, row.commit, row.state, row.is_reviewed) == ("v1.0.0", release.commit, "published", True)
    told = Notification.objects.filter(user=releasable.teacher, text__contains="v1.0.0 is published")
    assert told.get().path == "/alice/tide-assistant/releases/v1.0.0"
    assert [entry.action for entry in AuditEntry.objects.filter(is_public=True)][-4:] == [
        "release.proposed",
        "release.approved",
        "release.approved",
        "release.published",
    ]
    assert audit.verify() == ""


def test_who_has_a_stake_does_not_approve(releasable: Workshop, proposed: Release) -> None:
    for user, sentence in [
        (releasable.owner, "You proposed this release"),
        (releasable.teacher, "write access"),
    ]:
        with pytest.raises(Forbidden, match=sentence):
            approve(release=proposed, by=user)
    RepoCollaborator.objects.create(repo=releasable.model, user=releasable.teacher, role="write")
    with pytest.raises(Forbidden, match="You proposed what this release holds"):
        approve(release=proposed, by=releasable.teacher)
    assert not ReleaseApproval.objects.exists()


def test_who_brought_rows_does_not_approve(workshop: Workshop, dora: Person, tmp_path: Path) -> None:
    RepoCollaborator.objects.create(repo=workshop.model, user=workshop.teacher, role="write")
    workshop.make_model(tmp_path, by=workshop.helper)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    assert (
        why_not_approve(release, workshop.teacher) == "You contributed data of this release; others have to approve it."
    )
    assert "You proposed what" in why_not_approve(release, workshop.helper)


def test_who_changed_files_after_the_merge_does_not_approve(releasable: Workshop, bob: Person, dora: Person) -> None:
    bring(releasable.model, bob.user, {"README.md": b"---\nlicense: mit\n---\n# Mended\n"})
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert "after the merge" in why_not_approve(release, bob.user)
    assert why_not_approve(release, dora.user) == ""


def test_who_brought_one_of_many_files_does_not_approve(workshop: Workshop, dora: Person, tmp_path: Path) -> None:
    """Only the first 900 files of a dataset were asked about: who had brought a later one was nobody."""
    RepoCollaborator.objects.create(repo=workshop.data, user=dora.user, role="write")
    RepoCollaborator.objects.create(repo=workshop.model, user=dora.user, role="write")
    many = {f"data/{number:04}.jsonl": b'{"question": "%d?", "answer": "x"}\n' % number for number in range(901)}
    bring(workshop.data, workshop.teacher, many)
    bring(workshop.data, dora.user, {"data/last.jsonl": b'{"question": "Last?", "answer": "x"}\n'})
    Content.objects.filter(repo=workshop.data).update(clearance="cleared")  # so many take the quick screens too long
    workshop.make_model(tmp_path)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    assert "You contributed data" in why_not_approve(release, dora.user)


def test_who_only_pressed_run_may_approve(releasable: Workshop, proposed: Release, bob: Person) -> None:
    from training.models import Run

    Run.objects.update(approved_by=bob.user)
    assert why_not_approve(proposed, bob.user) == ""


def test_a_moderator_without_a_stake_may_approve(proposed: Release, mona: Person) -> None:
    assert approve(release=proposed, by=mona.user).approvals.count() == 1


def test_one_person_approves_once(proposed: Release, bob: Person) -> None:
    approve(release=proposed, by=bob.user)
    with pytest.raises(Forbidden, match="approved it already"):
        approve(release=proposed, by=bob.user)
    proposed.refresh_from_db()
    assert proposed.state == "proposed"


def test_an_approval_of_another_manifest_is_refused(proposed: Release, bob: Person) -> None:
    with pytest.raises(Conflict, match="changed since you looked"):
        approve(release=proposed, by=bob.user, digest="sha256:" + "0" * 64)
    assert not ReleaseApproval.objects.exists()


def test_approvals_of_an_earlier_proposal_do_not_count(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    approve(release=proposed, by=bob.user)
    refuse(release=proposed, by=bob.user, reason="The card has a wrong table.")
    bring(releasable.model, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Mended\n"})
    again = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert again.digest != proposed.digest and again.approvals.count() == 0
    assert approve(release=again, by=dora.user).state == "proposed"


def test_an_approver_who_left_does_not_count(proposed: Release, bob: Person, dora: Person) -> None:
    approve(release=proposed, by=bob.user)
    bob.user.is_active = False
    bob.user.save()
    assert approve(release=proposed, by=dora.user).state == "proposed"


def test_an_approver_who_lost_their_role_does_not_count(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, mona: Person
) -> None:
    """An approval counted on after its giver had no say in the repository any more."""
    approve(release=proposed, by=bob.user)
    RepoCollaborator.objects.filter(repo=releasable.model, user=bob.user).delete()
    assert approve(release=proposed, by=dora.user).state == "proposed"
    RepoCollaborator.objects.create(repo=releasable.model, user=bob.user, role="read")
    assert finish_interrupted() == 0
    assert approve(release=proposed, by=mona.user).state == "published"


def test_the_gate_looks_again_before_it_publishes(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    from hub.repos.clearance import set_clearance

    rows = [content_at(releasable.data, "train.jsonl")]
    approve(release=proposed, by=bob.user)
    set_clearance(contents=rows, clearance="withheld", reason="Copied.")
    with pytest.raises(Conflict, match="Something changed"):
        approve(release=proposed, by=dora.user)
    proposed.refresh_from_db()
    assert proposed.state == "proposed" and "train.jsonl" in proposed.state_reason
    assert finish_interrupted() == 0
    set_clearance(contents=rows, clearance="cleared")
    assert finish_interrupted() == 1
    proposed.refresh_from_db()
    assert (proposed.state, proposed.state_reason) == ("published", "")


def test_a_manifest_that_was_changed_after_the_proposal_is_not_published(
    proposed: Release, bob: Person, dora: Person
) -> None:
    approve(release=proposed, by=bob.user)
    Release.objects.filter(pk=proposed.pk).update(manifest={**proposed.manifest, "model_digest": "sha256:00"})
    with pytest.raises(Conflict, match="not the one that was proposed"):
        approve(release=proposed, by=dora.user)


def test_a_refused_release_is_seen_by_members_and_its_version_is_free_again(
    releasable: Workshop, proposed: Release, bob: Person
) -> None:
    with pytest.raises(InvalidInput, match="Give the reason"):
        refuse(release=proposed, by=bob.user, reason=" ")
    with pytest.raises(Forbidden):
        refuse(release=proposed, by=releasable.teacher, reason="No.")
    refuse(release=proposed, by=bob.user, reason="Too early.")
    with pytest.raises(Conflict, match="refused"):
        refuse(release=proposed, by=bob.user, reason="Too early.")
    with pytest.raises(Forbidden, match="is refused"):
        approve(release=proposed, by=bob.user)
    with pytest.raises(NotFound):
        find_release(releasable.model, "v1.0.0", releasable.teacher)
    assert list(visible_releases(releasable.model, releasable.teacher)) == []
    assert propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0").state == "proposed"


# --- one person


def test_a_hub_with_one_person_publishes_visibly_unreviewed(releasable: Workshop) -> None:
    from hub.accounts.models import User

    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    release = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
    assert (release.state, release.is_reviewed) == ("published", False)
    assert release.manifest["reviewed"] is False and release.manifest["approvals"] == []
    assert RepoRelease.objects.get().is_reviewed is False
    assert AuditEntry.objects.get(action="release.published").data["reviewed"] is False
    assert read_weights(releasable.model, "v1.0.0") == weights(1)


def test_where_others_could_approve_nobody_publishes_alone(releasable: Workshop, proposed: Release) -> None:
    with pytest.raises(Forbidden, match="needs 2 approvals"):
        publish(proposed)
    with pytest.raises(Forbidden, match="needs 2 approvals"):
        publish_unreviewed(release=proposed, by=releasable.owner)
    proposed.refresh_from_db()
    assert proposed.state == "proposed" and not RepoRelease.objects.exists()


def test_a_release_that_waits_when_the_others_leave_is_not_published_by_itself(
    releasable: Workshop, proposed: Release
) -> None:
    from hub.accounts.models import User

    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    assert finish_interrupted() == 0
    assert publish_unreviewed(release=proposed, by=releasable.owner).is_reviewed is False


# --- the tag


def test_the_tag_of_a_release_is_the_gates_alone(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    with pytest.raises(Forbidden):
        delete_tag(repo=repo, by=releasable.owner, name="v1.0.0")
    for name in ("v2.0.0", "v-mine"):
        with pytest.raises(Forbidden, match="propose a release"):
            create_tag(repo=repo, by=releasable.owner, name=name, start=repo.head)
    with pytest.raises(Forbidden, match="name of a release"):
        create_branch(repo=repo, by=releasable.owner, name="v1.0.0", start=repo.head)
    create_tag(repo=repo, by=releasable.owner, name="mine", start=repo.head)
    create_branch(repo=repo, by=releasable.owner, name="versions", start=repo.head)
    assert pair(repo).members.read_ref("refs/tags/v1.0.0") == published.commit


def test_a_release_does_not_change_when_main_goes_on(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    bring(repo, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Later\n"})
    assert reader(repo).resolve("v1.0.0") == reader(repo).resolve("main") == published.commit
    assert reader(repo, releasable.owner).resolve("main") != published.commit
    with pytest.raises(Conflict, match="exists already"):
        propose_release(repo=repo, by=releasable.owner, version="1.0.0")


# --- the signature


def test_the_signature_speaks_of_every_byte_of_the_manifest(published: Release) -> None:
    assert signing.is_signed(manifests.canonical(published.manifest), published.signature)
    data = bytearray(manifests.canonical(published.manifest))
    for place in random.Random(3).sample(range(len(data)), 40):
        spoilt = bytearray(data)
        spoilt[place] ^= 1
        assert not signing.is_signed(bytes(spoilt), published.signature)


def test_approvals_in_the_manifest_are_bound_to_its_digest(published: Release) -> None:
    assert [row["by"] for row in published.manifest["approvals"]] == ["bob", "dora"]
    assert {row["digest"] for row in published.manifest["approvals"]} == {published.digest}
    assert manifests.digest(manifests.approved_part(published.manifest)) == published.digest
    spoilt = copy.deepcopy(published.manifest)
    spoilt["files"]["model.safetensors"]["sha256"] = "0" * 64
    assert manifests.digest(manifests.approved_part(spoilt)) != published.digest


def test_a_signature_names_its_algorithm_and_whole_fields(published: Release) -> None:
    data = manifests.canonical(published.manifest)
    for change in ({"algorithm": "none"}, {"signature": ""}, {"public_key": "AAAA"}, {"signature": "é"}):
        assert not signing.is_signed(data, {**published.signature, **change})
    assert not signing.is_signed(data, {})


def test_the_signing_key_is_readable_by_its_owner_only(published: Release, data_dir: Path) -> None:
    assert (data_dir / "signing_key").stat().st_mode & 0o777 == 0o600


# --- crashes


def test_a_crash_between_row_and_tag_is_finished_later(
    proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(release=proposed, by=bob.user)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "finish_publishing", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            approve(release=proposed, by=dora.user)
    proposed.refresh_from_db()
    assert proposed.state == "published" and pair(proposed.repo).members.read_ref("refs/tags/v1.0.0") is None
    assert finish_interrupted() == 1
    assert read_weights(proposed.repo, "v1.0.0") == weights(1)
    assert finish_interrupted() == 0


def test_the_hub_finishes_by_itself_what_a_crash_cut_off(
    proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper queues the job once at a time; nobody has to ask for it."""
    from hub.common import jobs
    from hub.common.models import Job
    from tests.moderation.scenes import run_jobs

    approve(release=proposed, by=bob.user)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "finish_publishing", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            approve(release=proposed, by=dora.user)
    for _ in range(3):
        jobs.sweep()
    for kind in ("moderation.finish_interrupted", "moderation.screen_forgotten", "repos.reconcile"):
        assert Job.objects.filter(kind=kind).count() == 1, kind
    run_jobs("moderation.finish_interrupted")
    assert Job.objects.get(kind="moderation.finish_interrupted").state == "succeeded"
    assert read_weights(proposed.repo, "v1.0.0") == weights(1)


def test_a_crash_between_tag_and_weights_is_finished_later(
    proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(release=proposed, by=bob.user)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "decide", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            approve(release=proposed, by=dora.user)
    assert content_at(proposed.repo, "model.safetensors").reason == AWAITS_RELEASE
    assert finish_interrupted() == 1
    assert read_weights(proposed.repo, "v1.0.0") == weights(1)


def test_the_tag_keeps_files_whose_branch_has_gone(
    proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing named them when the release was finished: a collection that had begun before would have taken them."""
    from hub.repos.places import store
    from hub.storage.git import ANY

    approve(release=proposed, by=bob.user)
    with monkeypatch.context() as patch:
        patch.setattr(publishing, "finish_publishing", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            approve(release=proposed, by=dora.user)
    members = pair(proposed.repo).members
    first = members.ancestors_not_in(proposed.commit, [])[0]
    for ref in members.refs():
        members.move_ref(ref, first if ref == "refs/heads/main" else None, ANY)
    for path in store().root.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    assert finish_interrupted() == 1
    store().sweep(set(), grace_s=3600, now=time.time())
    assert read_weights(proposed.repo, "v1.0.0") == weights(1)


def test_a_crash_after_the_second_approval_is_finished_later(
    proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation import releases

    approve(release=proposed, by=bob.user)
    with monkeypatch.context() as patch:
        patch.setattr(releases, "publish", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            approve(release=proposed, by=dora.user)
    assert finish_interrupted() == 1
    proposed.refresh_from_db()
    assert proposed.state == "published" and proposed.is_reviewed


def test_a_crash_after_a_quarantine_is_finished_later(
    published: Release, mona: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hub.repos.clearance.publish", lambda *_, **__: None)
        patch.setattr(publishing, "publish_repo", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            set_state(release=published, by=mona.user, state="quarantined", reason="It leaks.")
    assert pair(published.repo).public.read_ref("refs/tags/v1.0.0") is not None
    assert finish_interrupted() == 1
    assert pair(published.repo).public.read_ref("refs/tags/v1.0.0") is None
    assert not is_public_object(published.repo, published.commit)


def test_approvals_at_the_same_moment_publish_once(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the second approver's gate looks, a third one approves and publishes."""
    from moderation import gate

    emil = make_person("emil")
    RepoCollaborator.objects.create(repo=releasable.model, user=emil.user, role="write")
    approve(release=proposed, by=bob.user)
    real, calls = gate.inspect, []

    def inspect_slowly(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            approve(release=proposed, by=emil.user)
        return real(*arguments, **options)

    monkeypatch.setattr(gate, "inspect", inspect_slowly)
    release = approve(release=proposed, by=dora.user)
    assert release.state == "published" and len(calls) == 2
    assert RepoRelease.objects.count() == AuditEntry.objects.filter(action="release.published").count() == 1
    assert signing.is_signed(manifests.canonical(release.manifest), release.signature)


def test_two_people_who_approve_in_two_processes_publish_once(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    """Really at the same time: each with a connection of its own."""
    import threading

    from django.db import connection

    start, problems = threading.Barrier(2), []

    def approve_as(user: Any) -> None:
        try:
            start.wait(timeout=30)
            approve(release=Release.objects.get(pk=proposed.pk), by=user)
        except Exception as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=approve_as, args=(person.user,)) for person in (bob, dora)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert problems == []
    proposed.refresh_from_db()
    assert proposed.state == "published" and proposed.is_reviewed
    assert RepoRelease.objects.count() == AuditEntry.objects.filter(action="release.published").count() == 1
    assert read_weights(releasable.model, "v1.0.0") == weights(1) and audit.verify() == ""


# --- yank, quarantine, lift


def test_a_yanked_release_is_not_offered_and_still_there(releasable: Workshop, published: Release) -> None:
    repo = releasable.model
    set_state(release=published, by=releasable.owner, state="yanked", reason="It confuses ebb and flood.")
    assert read_weights(repo, "v1.0.0") == weights(1)
    with pytest.raises(RevisionNotFound):
        reader(repo).resolve("stable")
    assert RepoRelease.objects.get().reason == "It confuses ebb and flood."
    assert AuditEntry.objects.get(action="release.yanked").is_public
    set_state(release=published, by=releasable.owner, state="published", reason="It was the test that was wrong.")
    assert reader(repo).resolve("stable") == published.commit


def test_a_quarantined_release_is_gone_for_strangers(releasable: Workshop, published: Release, mona: Person) -> None:
    repo = releasable.model
    sha = content_at(repo, "model.safetensors").digest.removeprefix("sha256:")
    assert reader(repo).may_have(sha)
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    for revision in ("v1.0.0", "stable", published.commit):
        with pytest.raises(RevisionNotFound):
            reader(repo).resolve(revision)
    assert not reader(repo).may_have(sha) and not is_public_object(repo, published.commit)
    assert content_at(repo, "model.safetensors").reason == QUARANTINED
    assert read_weights(repo, "v1.0.0", releasable.owner) == weights(1)
    assert find_release(repo, "v1.0.0", releasable.teacher).state == "quarantined"
    set_state(release=published, by=mona.user, state="published", reason="The address was made up.")
    assert read_weights(repo, "v1.0.0") == weights(1)
    assert finish_interrupted() == 0


def test_a_quarantine_leaves_what_another_release_holds(
    releasable: Workshop, published: Release, bob: Person, dora: Person, mona: Person
) -> None:
    repo = releasable.model
    bring(repo, releasable.owner, {"README.md": b"---\nlicense: mit\n---\n# Mended card\n"})
    second = propose_release(repo=repo, by=releasable.owner, version="1.0.1")
    for person in (bob, dora):
        approve(release=second, by=person.user)
    set_state(release=published, by=mona.user, state="quarantined", reason="Its card names a person.")
    with pytest.raises(RevisionNotFound):
        reader(repo).resolve("v1.0.0")
    assert read_weights(repo, "v1.0.1") == read_weights(repo, "stable") == weights(1)


def test_the_release_before_becomes_stable_again(
    workshop: Workshop, dora: Person, mona: Person, bob: Person, tmp_path: Path
) -> None:
    RepoCollaborator.objects.create(repo=workshop.model, user=dora.user, role="write")
    made = []
    for number in (1, 2):
        workshop.make_model(tmp_path, seed=number, by=workshop.owner if number == 2 else None)
        release = propose_release(repo=workshop.model, by=workshop.owner, version=f"1.{number}.0")
        for person in (bob, dora):
            approve(release=release, by=person.user)
        made.append(release)
    assert read_weights(workshop.model, "stable") == weights(2)
    set_state(release=made[1], by=mona.user, state="quarantined", reason="It leaks.")
    assert read_weights(workshop.model, "stable") == read_weights(workshop.model, "main") == weights(1)
    with pytest.raises(RevisionNotFound):
        reader(workshop.model).resolve("v1.2.0")
    assert not is_public_object(workshop.model, made[1].commit)


def test_who_may_change_the_state_of_a_release(
    releasable: Workshop, published: Release, bob: Person, mona: Person
) -> None:
    with pytest.raises(Forbidden):  # a writer is no admin
        set_state(release=published, by=bob.user, state="yanked", reason="No.")
    with pytest.raises(Forbidden):
        set_state(release=published, by=releasable.owner, state="quarantined", reason="No.")
    with pytest.raises(InvalidInput, match="Give the reason"):
        set_state(release=published, by=mona.user, state="yanked", reason="")
    with pytest.raises(InvalidInput, match="published, yanked or quarantined"):
        set_state(release=published, by=mona.user, state="proposed", reason="No.")
    with pytest.raises(Conflict, match="published already"):
        set_state(release=published, by=mona.user, state="published", reason="No.")


def test_a_maintainer_with_an_old_page_does_not_lift_a_quarantine(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    yanked = set_state(release=published, by=releasable.owner, state="yanked", reason="It is wrong.")
    set_state(release=published, by=mona.user, state="quarantined", reason="It is worse than that.")
    with pytest.raises(Forbidden):
        set_state(release=yanked, by=releasable.owner, state="published", reason="Fine again.")
    published.refresh_from_db()
    assert published.state == "quarantined"


def test_a_moderator_does_not_lift_the_quarantine_of_their_own_release(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="It names people.")
    releasable.owner.is_moderator = True
    releasable.owner.save()
    for state in ("published", "yanked"):  # yanked, it would be readable again too
        with pytest.raises(Forbidden, match="You have a part in this release"):
            set_state(release=published, by=releasable.owner, state=state, reason="I think it is fine.")
    assert set_state(release=published, by=mona.user, state="yanked", reason="Not so bad.").state == "yanked"
    with pytest.raises(Forbidden, match="You have a part in this release"):
        set_state(release=published, by=releasable.owner, state="published", reason="I think it is fine.")


def test_alone_on_a_hub_a_moderator_lifts_what_is_their_own(releasable: Workshop, published: Release) -> None:
    from hub.accounts.models import User

    releasable.owner.is_moderator = True
    releasable.owner.save()
    set_state(release=published, by=releasable.owner, state="quarantined", reason="It names people.")
    User.objects.exclude(pk=releasable.owner.pk).filter(is_system=False).update(is_active=False)
    lifted = set_state(release=published, by=releasable.owner, state="published", reason="They are made up.")
    assert lifted.state == "published"


def test_an_admin_does_not_lift_what_a_moderator_yanked(releasable: Workshop, published: Release, mona: Person) -> None:
    set_state(release=published, by=mona.user, state="yanked", reason="Its data was withdrawn.")
    with pytest.raises(Forbidden, match="only a moderator gives it out again"):
        set_state(release=published, by=releasable.owner, state="published", reason="Back again.")
    assert set_state(release=published, by=mona.user, state="published", reason="It is back.").state == "published"


def test_what_the_gate_refuses_by_now_is_not_lifted(releasable: Workshop, published: Release, mona: Person) -> None:
    from hub.repos.clearance import set_clearance

    set_state(release=published, by=mona.user, state="quarantined", reason="Its data may be stolen.")
    rows = [content_at(releasable.data, "train.jsonl")]
    set_clearance(contents=rows, clearance="withheld", reason="It is.")
    with pytest.raises(Conflict, match=r"cannot be given out again.*train.jsonl"):
        set_state(release=published, by=mona.user, state="published", reason="Fine.")
    set_clearance(contents=rows, clearance="cleared")
    set_state(release=published, by=mona.user, state="published", reason="The author agreed.")
    assert read_weights(releasable.model, "v1.0.0") == weights(1)


def test_what_was_never_published_has_no_state_to_change(proposed: Release, mona: Person) -> None:
    for state in ("published", "yanked", "quarantined"):
        with pytest.raises(Conflict, match="never published"):
            set_state(release=proposed, by=mona.user, state=state, reason="At once.")


# --- no way round


def test_no_sequence_of_acts_publishes_without_two_people_who_have_no_stake(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person, mona: Person
) -> None:
    """Random acts by random people, through every function that could change a release."""
    RepoCollaborator.objects.create(repo=releasable.model, user=releasable.teacher, role="admin")
    people = [releasable.owner, releasable.teacher, bob.user, dora.user, mona.user, make_person("emil").user]
    free = {bob.user.pk, dora.user.pk, mona.user.pk}
    chance = random.Random(11)
    acts = [
        lambda release, by: approve(release=release, by=by),
        lambda release, by: approve(release=release, by=by, digest=release.digest),
        lambda release, by: publish(release),
        lambda release, by: publish_unreviewed(release=release, by=by),
        lambda release, by: set_state(release=release, by=by, state="published", reason="Now."),
        lambda release, by: set_state(release=release, by=by, state="yanked", reason="Now."),
        lambda release, by: refuse(release=release, by=by, reason="Not yet."),
        lambda release, by: finish_interrupted(),
        lambda release, by: propose_release(repo=releasable.model, by=by, version="1.0.0"),
    ]
    published = 0
    for _ in range(12):
        RepoRelease.objects.all().delete()
        Release.objects.all().delete()
        members = pair(releasable.model).members
        if members.read_ref("refs/tags/v1.0.0"):
            members.move_ref("refs/tags/v1.0.0", None, members.read_ref("refs/tags/v1.0.0"))
        Content.objects.filter(path="model.safetensors", repo=releasable.model).update(
            clearance="pending", reason=AWAITS_RELEASE
        )
        propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")
        for _ in range(14):
            release = Release.objects.get()
            try:
                chance.choice(acts)(release, chance.choice(people))
            except (Forbidden, Conflict, RepoNotFound, InvalidInput):
                pass
            row = Release.objects.get()
            if row.state not in ("proposed", "refused"):
                valid = set(row.approvals.filter(digest=row.digest).values_list("by", flat=True))
                assert len(valid & (free - {row.proposed_by_id})) >= NEEDED_APPROVALS and row.is_reviewed
                published += 1
                break
            assert not RepoRelease.objects.exists()
            with pytest.raises(Withheld):
                who = reader(releasable.model)
                content = content_at(releasable.model, "model.safetensors")
                entry = pair(releasable.model).members.entry(row.commit, "model.safetensors")
                assert content.clearance != Content.Clearance.CLEARED
                who.check_bytes(entry)
    assert published > 0  # the walk does reach the state that it guards
