"""What becomes of a published release without anybody touching it: superseded, containing what was withdrawn, and what the
channels led to on a day. And what the stock client is told."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone
from huggingface_hub.errors import DisabledRepoError
from huggingface_hub.utils import hf_raise_for_status

from hub.common.errors import ReleaseDisabled, RevisionNotFound
from hub.community.models import Notification
from hub.repos.clearance import set_clearance
from hub.repos.models import Content, RepoRelease
from moderation.models import AuditEntry, Release, ReleaseBasis, ReleaseChange
from moderation.releasing import channels, withdrawals
from moderation.releasing.publishing import set_state
from moderation.releasing.releases import approve, propose_release, tell_standing
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import Workshop, bring, content_at, reader
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


def release(workshop: Workshop, version: str, bob: Person, dora: Person, card: str = "") -> Release:
    if card:
        bring(workshop.model, workshop.owner, {"README.md": f"---\nlicense: mit\n---\n{card}\n".encode()})
        workshop.model.refresh_from_db()
    made = propose_release(repo=workshop.model, by=workshop.owner, version=version)
    for person in (bob, dora):
        made = approve(release=made, by=person.user)
    return made


def standing(row: Release) -> tuple[str, str]:
    row.refresh_from_db()
    tell_standing(row.repo, [row])
    return row.superseded_by, row.withdrawn  # type: ignore[attr-defined]


def test_channels_lead_to_the_newest_and_remember_what_they_led_to(
    releasable: Workshop, published: Release, bob: Person, dora: Person, browser_of: Browser
) -> None:
    repo = releasable.model
    before = timezone.now()
    trial = release(releasable, "1.1.0-rc.1", bob, dora, "# A trial")
    assert reader(repo).resolve("stable") == published.commit and reader(repo).resolve("candidate") == trial.commit
    assert standing(published) == ("", "")  # a trial supersedes nothing
    second = release(releasable, "1.1.0", bob, dora, "# The second")
    assert standing(published) == ("v1.1.0", "") and standing(trial) == ("v1.1.0", "") and standing(second) == ("", "")
    assert reader(repo).resolve("stable") == reader(repo).resolve("candidate") == second.commit
    set_state(release=second, by=releasable.owner, state="yanked", reason="It confuses ebb and flood.")
    assert standing(published) == ("", "") and reader(repo).resolve("candidate") == trial.commit

    spans = channels.list_spans(repo, "stable")
    assert [span.tag for span in spans] == ["v1.0.0", "v1.1.0", "v1.0.0"]
    assert spans[0].why == "v1.1.0 was yanked: It confuses ebb and flood." and spans[0].until is None
    assert spans[1].approved_by == ["bob", "dora"] and spans[1].until == spans[0].since
    assert {span.channel: span.tag for span in channels.spans_at(repo, before)} == dict.fromkeys(
        ("stable", "candidate"), "v1.0.0"
    )
    assert channels.spans_at(repo, before - timedelta(days=3)) == []

    page = browser_of(None).get(f"{repo.path}/releases/channels?on={before.date()}")
    assert "led to v1.0.0 , approved by bob and dora" in words(page)
    assert browser_of(None).get(f"{repo.path}/releases/channels?on=someday").status_code == 400
    told = browser_of(None).get(f"/api/v1/repos/models/{repo.full_name}/releases/channels").json()
    assert [row["tag"] for row in told if row["channel"] == "candidate"] == [
        "v1.1.0-rc.1",
        "v1.1.0",
        "v1.1.0-rc.1",
        "v1.0.0",
    ]
    listed = browser_of(None).get(f"/api/v1/repos/models/{repo.full_name}/releases").json()
    assert {row["tag"]: row["superseded_by"] for row in listed} == {"v1.1.0": "", "v1.1.0-rc.1": "", "v1.0.0": ""}
    strip = words(browser_of(None).get(repo.path))
    assert "Candidate v1.1.0-rc.1" in strip


def test_the_history_of_a_release_is_only_added_to(published: Release) -> None:
    change = ReleaseChange.objects.get()
    assert (change.state, change.by) == ("published", None)
    rows = ReleaseChange.objects.filter(pk=change.pk)
    for write in (
        lambda: rows.update(at=timezone.now() - timedelta(days=9)),
        lambda: rows.update(reason="Other."),
        lambda: rows.delete(),
        lambda: ReleaseChange.objects.create(release=published, state="yanked"),  # which it is not
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            write()


def test_data_that_is_withheld_later_shows_in_the_release_and_comes_back(
    releasable: Workshop, published: Release, alice: Person, browser_of: Browser
) -> None:
    rows = content_at(releasable.data, "train.jsonl")
    set_clearance(contents=[rows], clearance="withheld", reason="Copied.")
    said = "charlie/tide-rows: 1 file withheld."
    assert standing(published) == ("", said) and RepoRelease.objects.get().state == "published"
    entry = AuditEntry.objects.get(action="release.contains_withdrawn")
    assert entry.is_public and entry.data == {"found": said}
    assert said in Notification.objects.filter(user=alice.user).latest("pk").text
    place = f"{releasable.model.path}/releases"
    assert said in words(browser_of(None).get(f"{place}/v1.0.0"))
    assert "Contains withdrawn" in words(browser_of(None).get(place))
    assert (
        browser_of(None).get(f"/api/v1/repos/models/{releasable.model.full_name}/releases/v1.0.0").json()["withdrawn"]
        == said
    )
    assert reader(releasable.model).resolve("stable") == published.commit  # people decide whether it is yanked
    info = browser_of(None).get(f"/api/models/{releasable.model.full_name}/revision/v1.0.0")
    topic, _, message = info["X-HF-Warning"].partition("; ")
    assert topic.endswith("v1.0.0") and said in message
    assert withdrawals.renew_all() == 0

    set_clearance(contents=[rows], clearance="cleared")
    withdrawals.renew_all()
    assert (
        standing(published) == ("", "")
        and AuditEntry.objects.filter(action="release.contains_nothing_withdrawn").exists()
    )
    assert "X-HF-Warning" not in browser_of(None).get(f"/api/models/{releasable.model.full_name}/revision/v1.0.0")


def test_what_was_made_from_a_release_inherits_what_it_contains(world: Any) -> None:
    """Rows alone: a grandchild, whose lock pins the commit of the release it started from."""
    from tests.guards import lifted

    with lifted():
        Release.objects.filter(pk=world.release.pk).update(state="published")
        child = Release.objects.create(
            repo=world.release.repo, version="2.0.0", commit="e" * 40, digest="sha256:e", state="published",
            manifest={"inputs": [{"type": "model", "commit": world.release.commit}]},
        )  # fmt: skip
        for row in (world.release, child):
            RepoRelease.objects.create(repo=row.repo, tag=row.tag, commit=row.commit)
    basis = ReleaseBasis.objects.get(digest=world.rows.digest)
    Content.objects.filter(repo=basis.repo_id, digest=basis.digest).update(clearance="withheld")
    withdrawals.renew_for(world.rows.repo, [world.rows.digest])
    assert set(RepoRelease.objects.values_list("withdrawn", flat=True)) == {"charlie/dataset: 1 file withheld."}


def as_the_client_reads(answer: Any) -> httpx2.Response:
    request = httpx2.Request("GET", f"http://hub{answer.wsgi_request.path}")
    return httpx2.Response(answer.status_code, headers=dict(answer.items()), content=answer.content, request=request)


@pytest.mark.parametrize(
    "address",
    ["/api/models/{name}/revision/{rev}", "/{name}/resolve/{rev}/config.json", "/api/models/{name}/tree/{rev}"],
)
def test_who_pinned_a_quarantined_release_is_told_that_it_was_closed(
    releasable: Workshop, published: Release, mona: Person, client: Client, address: str
) -> None:
    repo = releasable.model
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    for revision in ("v1.0.0", published.commit):
        answer = client.get(address.format(name=repo.full_name, rev=revision))
        with pytest.raises(DisabledRepoError):
            hf_raise_for_status(as_the_client_reads(answer))
        assert "It gives away an address" in answer.json()["error"]
    with pytest.raises(ReleaseDisabled):
        reader(repo).resolve("refs/tags/v1.0.0")
    for revision in ("v9.0.0", "stable", "f" * 40):
        with pytest.raises(RevisionNotFound) as problem:
            reader(repo).resolve(revision)
        assert not isinstance(problem.value, ReleaseDisabled)
    assert reader(repo, releasable.owner).resolve("v1.0.0") == published.commit
    page = client.get(f"{repo.path}/tree/v1.0.0")
    assert page.status_code == 403 and "It gives away an address" in words(page)


def test_a_release_of_before_has_a_history_from_the_log(
    releasable: Workshop, published: Release, tmp_path: Path
) -> None:
    from importlib import import_module

    from django.apps import apps

    from tests.guards import lifted

    set_state(release=published, by=releasable.owner, state="yanked", reason="Bad.")
    kept = list(ReleaseChange.objects.order_by("pk").values_list("state", "reason", "by__username"))
    with lifted():
        ReleaseChange.objects.all().delete()
        import_module("moderation.migrations.0006_release_changes").write_history(apps, None)
    assert list(ReleaseChange.objects.order_by("pk").values_list("state", "reason", "by__username")) == kept
