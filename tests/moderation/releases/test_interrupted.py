"""Releases that a crash cut off are finished later."""

import os
import time

import pytest

from hub.common.errors import Conflict
from hub.repos.models import RepoRelease
from hub.repos.places import pair
from hub.repos.purging import carry_out, start_purge
from moderation.models import Release
from moderation.releasing import publishing
from moderation.releasing.publishing import finish_interrupted, set_state
from moderation.releasing.releases import approve
from moderation.rules.reasons import AWAITS_RELEASE
from tests.moderation.scenes import Workshop, content_at, is_public_object, read_weights, weights
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


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


def test_nothing_is_given_out_of_a_history_that_is_about_to_change(
    releasable: Workshop, proposed: Release, bob: Person, dora: Person
) -> None:
    repo = releasable.model
    purge, _ = start_purge(repo=repo, by=repo.owner, paths=["README.md"])  # the work itself is left to the job
    approve(release=proposed, by=bob.user)
    with pytest.raises(Conflict, match="not finished"):
        approve(release=proposed, by=dora.user)
    assert not RepoRelease.objects.exists()
    carry_out(purge)
    proposed.refresh_from_db()
    assert proposed.state == "refused" and "propose the release again" in proposed.state_reason


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
    from moderation.releasing import releases

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
