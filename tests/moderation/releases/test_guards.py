"""The database itself lets no release past the gate: by the ORM, in bulk and by SQL, whatever was written before."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.common.errors import Conflict
from hub.community.models import Discussion
from hub.repos.models import RepoRelease
from moderation import guards
from moderation.guards.rules import ADDED_LATER, list_guards
from moderation.models import AuditEntry, Release, ReleaseApproval, ReleaseBasis, ReleaseStake, Screening
from moderation.rules.reasons import AWAITS_RELEASE
from tests.guards import lifted
from tests.moderation.releases.world import (
    DIGEST,
    GATE_WRITES,
    MAKERS,
    World,
    add_stake,
    change_manifest,
    changed,
    decide,
    forged,
    rows_of,
    run_sql,
    screen,
    show,
    shown,
)
from training.models import Run

pytestmark = pytest.mark.django_db


def test_with_two_free_approvals_and_all_cleared_it_is_published(world: World) -> None:
    world.approve("bob", "dora")
    world.publish()
    row = show(world)
    for state in ("yanked", "quarantined", "published"):
        Release.objects.update(state=state, state_reason="Because.")
        RepoRelease.objects.update(state=state)
    assert row.state == Release.objects.get().state == "published"


def test_a_hub_with_one_person_publishes_unreviewed_and_no_other(world: World) -> None:
    with pytest.raises(IntegrityError, match="Only on a hub with one person"), transaction.atomic():
        world.publish(is_reviewed=False)
    User.objects.exclude(username="alice").update(is_active=False)
    with pytest.raises(IntegrityError, match="needs 2 approvals"), transaction.atomic():
        world.publish()
    world.publish(is_reviewed=False)
    with pytest.raises(IntegrityError, match="written once"):
        Release.objects.update(is_reviewed=True)


Write = Callable[[World], Any]
BEFORE: list[tuple[str, Write, str]] = [  # of a release with two approvals: what keeps it from being published
    ("data was withheld", lambda w: decide(w.rows, clearance="withheld"), "not cleared"),
    ("data waits", lambda w: decide(w.rows, clearance="pending"), "not cleared"),
    ("data of others waits for a release", lambda w: decide(w.rows, clearance="pending", reason=AWAITS_RELEASE), "not cleared"),
    ("data is gone", lambda w: w.rows.delete(), "not cleared"),
    ("a file was withheld", lambda w: decide(w.files[1], clearance="withheld"), "not cleared"),
    ("weights wait for a moderator", lambda w: decide(w.files[0], reason="Odd."), "not cleared"),
    ("outputs were flagged", lambda w: Screening.objects.update(state="held"), "says is not cleared"),
    ("outputs were flagged later", lambda w: screen(w.release.repo, "held"), "says is not cleared"),
    ("outputs were never screened", lambda w: Screening.objects.all().delete(), "says is not cleared"),
    ("outputs of another repository passed", lambda w: Screening.objects.update(repo=w.rows.repo), "says is not cleared"),
    ("an approver left", lambda w: User.objects.filter(username="bob").update(is_active=False), "needs 2 approvals"),
    ("an approver has a stake by now", lambda w: add_stake(w, "bob"), "needs 2 approvals"),
    ("an approval was taken back", lambda w: ReleaseApproval.objects.filter(by=w.people["bob"]).delete(), "needs 2 approvals"),
    ("the run is another's", lambda w: Run.objects.update(proposed_by=w.people["bob"]), "who has a stake"),
    ("the pull request is another's", lambda w: Discussion.objects.update(author=w.people["bob"]), "who has a stake"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "sentence"), [row[1:] for row in BEFORE], ids=[row[0] for row in BEFORE])
def test_what_changed_since_the_approvals_keeps_it_back(world: World, before: Write, sentence: str) -> None:
    world.approve("bob", "dora")
    before(world)
    with pytest.raises(IntegrityError, match=sentence):
        world.publish()


def write_in_bulk(row: Release) -> None:
    Release.objects.bulk_update([row], GATE_WRITES)


def upsert(row: Release) -> None:
    Release.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["repo", "version"], update_fields=GATE_WRITES
    )


def approve_in_bulk(world: World, names: tuple[str, ...]) -> None:
    rows = [ReleaseApproval(release=world.release, by=world.people[name], digest=DIGEST) for name in names]
    ReleaseApproval.objects.bulk_create(rows)


def lift_over_withheld_data(world: World) -> None:
    rows_of(world).update(state="quarantined")
    decide(world.rows, "withheld")
    rows_of(world).update(state="published")


PROPOSED: list[tuple[str, Write, str]] = [  # of a release without approvals
    ("published alone, update", lambda w: w.publish(), "needs 2 approvals"),
    ("published alone, save", lambda w: changed(w.release, **w.published()).save(), "needs 2 approvals"),
    ("published alone, bulk_update", lambda w: write_in_bulk(changed(w.release, **w.published())), "needs 2 approvals"),
    ("published alone, SQL", lambda w: run_sql("UPDATE moderation_release SET state = 'published'"), "does not say what was approved"),
    ("made published, create", lambda w: forged(w).save(), "begins as a proposal"),
    ("made published, bulk_create", lambda w: Release.objects.bulk_create([forged(w)]), "begins as a proposal"),
    ("made published, upsert", lambda w: upsert(forged(w, version="1.0.0")), "begins as a proposal"),
    ("made yanked", lambda w: forged(w, state="yanked").save(), "begins as a proposal"),
    ("yanked at once", lambda w: rows_of(w).update(state="yanked"), "never published"),
    ("quarantined at once", lambda w: rows_of(w).update(state="quarantined"), "never published"),
    ("a made-up state", lambda w: rows_of(w).update(state="stable"), "no state of a release"),
    ("another commit", lambda w: rows_of(w).update(commit="d" * 40), "never changed"),
    ("another digest", lambda w: rows_of(w).update(digest="sha256:x"), "never changed"),
    ("another gate", lambda w: rows_of(w).update(gate=[{"name": "all", "state": "passed"}]), "never changed"),
    ("another manifest", lambda w: rows_of(w).update(manifest={}), "written once"),
    ("another proposer", lambda w: rows_of(w).update(proposed_by=w.people["bob"]), "Who proposed"),
    ("another number", lambda w: run_sql("UPDATE moderation_release SET id = id + 100"), "never changed"),
    ("shown without a release", lambda w: show(w, "v9.0.0"), "Only what the gate published"),
    ("shown while proposed", lambda w: show(w), "Only what the gate published"),
    ("shown in bulk", lambda w: RepoRelease.objects.bulk_create([shown(w)]), "Only what the gate published"),
    ("approved by its proposer", lambda w: w.approve("alice"), "has a stake"),
    ("approved by who brought data", lambda w: w.approve("charlie"), "has a stake"),
    ("approved by who proposed the recipe", lambda w: w.approve("teacher"), "has a stake"),
    ("approved by who pushed to it", lambda w: w.approve("pusher"), "has a stake"),
    ("approved by who left", lambda w: w.approve("gone"), "person with an account"),
    ("approved as something else", lambda w: w.approve("bob", digest="sha256:x"), "another manifest"),
    ("approved twice by one", lambda w: w.approve("bob", "bob"), "approves once"),
    ("approved in bulk by its makers", lambda w: approve_in_bulk(w, MAKERS), "has a stake"),
    ("an approval given to another", lambda w: (w.approve("bob"), ReleaseApproval.objects.update(by=w.people["dora"])), "never changed"),
    ("stakes forgotten", lambda w: ReleaseStake.objects.all().delete(), "stay with it"),
    ("stakes forgotten, SQL", lambda w: run_sql("DELETE FROM moderation_releasestake"), "stay with it"),
    ("a stake given to another", lambda w: ReleaseStake.objects.update(user=w.people["bob"]), "never changed"),
    ("its basis forgotten", lambda w: run_sql("DELETE FROM moderation_releasebasis"), "stay with it"),
    ("another basis", lambda w: ReleaseBasis.objects.update(digest="git:card"), "never changed"),
]  # fmt: skip
APPROVED: list[tuple[str, Write, str]] = [  # of a release with two approvals
    ("published with other files", lambda w: w.publish(manifest=change_manifest(w, files={"evil": {}})), "not the one that was approved"),
    ("published with fewer makers", lambda w: w.publish(manifest=change_manifest(w, contributors=[])), "not the one that was approved"),
    ("published without a signature", lambda w: w.publish(signature={}), "signed and dated"),
    ("published without a date", lambda w: w.publish(published_at=None), "signed and dated"),
    ("published for another digest", lambda w: w.publish(manifest=change_manifest(w, approved_digest="sha256:x")), "does not say what"),
    ("published as another commit", lambda w: w.publish(commit="d" * 40), "never changed"),
    ("published as another version", lambda w: w.publish(version="9.0.0"), "never changed"),
    ("published as the work of another", lambda w: w.publish(proposed_by=w.people["emil"]), "Who proposed"),
]  # fmt: skip
PUBLISHED: list[tuple[str, Write, str]] = [  # of a published and shown release
    ("another commit", lambda w: rows_of(w).update(commit="d" * 40), "never changed"),
    ("another version", lambda w: rows_of(w).update(version="1.0.1"), "never changed"),
    ("another repository", lambda w: rows_of(w).update(repo=w.rows.repo), "never changed"),
    ("another manifest", lambda w: rows_of(w).update(manifest={}), "written once"),
    ("another signature", lambda w: rows_of(w).update(signature={}), "written once"),
    ("another date", lambda w: rows_of(w).update(published_at=timezone.now()), "written once"),
    ("other notes", lambda w: rows_of(w).update(notes="Better."), "notes"),
    ("called unreviewed", lambda w: rows_of(w).update(is_reviewed=False), "written once"),
    ("proposed again", lambda w: rows_of(w).update(state="proposed"), "stays one"),
    ("refused afterwards", lambda w: run_sql("UPDATE moderation_release SET state = 'refused'"), "stays one"),
    ("deleted", lambda w: Release.objects.all().delete(), "stay"),
    ("deleted, SQL", lambda w: run_sql("DELETE FROM moderation_release"), "never deleted"),
    ("made again", lambda w: forged(w, version="1.0.0", state="proposed").save(), "exists already"),
    ("approved once more", lambda w: w.approve("emil"), "Only a proposed release"),
    ("an approval taken away", lambda w: ReleaseApproval.objects.filter(by=w.people["bob"]).delete(), "stay"),
    ("an approval changed", lambda w: ReleaseApproval.objects.update(digest="sha256:x"), "never changed"),
    ("a stake added", lambda w: add_stake(w, "bob"), "when it is proposed"),
    ("stakes forgotten", lambda w: run_sql("DELETE FROM moderation_releasestake"), "stay with it"),
    ("basis added", lambda w: ReleaseBasis.objects.create(release=w.release, repo=w.rows.repo, digest="git:x"), "when it is proposed"),
    ("shown as another commit", lambda w: RepoRelease.objects.update(commit="d" * 40), "never changed"),
    ("shown under another tag", lambda w: RepoRelease.objects.update(tag="v2.0.0"), "never changed"),
    ("shown as unreviewed", lambda w: RepoRelease.objects.update(is_reviewed=False), "never changed"),
    ("shown in another state", lambda w: RepoRelease.objects.update(state="quarantined"), "state that it has"),
    ("shown no more", lambda w: RepoRelease.objects.all().delete(), "never deleted"),
    ("shown twice", lambda w: show(w), "shown already"),
    ("lifted over withheld data", lift_over_withheld_data, "given out no more"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("state", "write", "sentence"),
    [(state, *row[1:]) for state, rows in (("proposed", PROPOSED), ("approved", APPROVED), ("published", PUBLISHED)) for row in rows],
    ids=[f"{state}: {row[0]}" for state, rows in (("proposed", PROPOSED), ("approved", APPROVED), ("published", PUBLISHED)) for row in rows],
)  # fmt: skip
def test_a_write_past_the_gate_is_refused(world: World, state: str, write: Write, sentence: str) -> None:
    if state != "proposed":
        world.approve("bob", "dora")
    if state == "published":
        world.publish()
        show(world)
    with pytest.raises(IntegrityError, match=sentence):
        write(world)


@pytest.mark.parametrize("table", ["moderation_release", "hub_reporelease", "moderation_releaseapproval"])
def test_replacing_a_row_of_sqlite_is_refused(world: World, table: str) -> None:
    """INSERT OR REPLACE takes the old row away without asking the guard of deletions."""
    if connection.vendor != "sqlite":
        return  # other databases have no such statement
    world.approve("bob", "dora")
    world.publish()
    show(world)
    with pytest.raises(IntegrityError):
        run_sql(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")


def test_a_release_written_without_its_makers_is_not_published(world: World) -> None:
    """Deleted while it was proposed, and written again without anybody's stake: its makers are known all the same."""
    Release.objects.all().update(state="refused")
    Release.objects.all().delete()
    world.release = Release.objects.create(
        repo=world.release.repo, version="1.0.0", commit="c" * 40, digest=DIGEST, manifest=world.release.manifest
    )
    world.approve("teacher", "charlie")
    with pytest.raises(IntegrityError, match="who has a stake"):
        world.publish()


@pytest.mark.parametrize("write", ["UPDATE moderation_auditentry SET actor = 'x'", "DELETE FROM moderation_auditentry"])
def test_the_log_is_only_added_to(write: str) -> None:
    from moderation import audit

    audit.record("case.allowed", "alice/tides")
    with pytest.raises(IntegrityError, match="only ever added to"), transaction.atomic():
        run_sql(write)
    assert audit.record("case.refused", "alice/tides").number == AuditEntry.objects.count() == 2


def test_nothing_is_published_while_a_guard_is_missing() -> None:
    guards.require_in_force(connection)
    guards.remove(connection, "DELETE")
    with pytest.raises(Conflict, match="not in force"):
        guards.require_in_force(connection)
    guards.install(connection)
    guards.require_in_force(connection)


def test_gate_and_guards_mean_the_same() -> None:
    from moderation.releasing import manifests

    assert ADDED_LATER == manifests.ADDED_LATER
    assert {guard.table for guard in list_guards("sqlite")} == {guard.table for guard in list_guards("postgresql")}


def test_as_many_approvals_are_asked_for_as_by_the_policy_that_the_manifest_names(world: World) -> None:
    asked = {"policy": {"values": {"who_decides": {"release_approvals": 3}}}}
    with lifted():
        rows_of(world).update(manifest={**world.release.manifest, **asked})
    world.release.refresh_from_db()
    world.approve("bob", "dora")
    with pytest.raises(IntegrityError, match="as many approvals as the policy"), transaction.atomic():
        world.publish()
    world.approve("emil")
    world.publish()
