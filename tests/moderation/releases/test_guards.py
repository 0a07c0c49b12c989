"""The database itself lets no release past the gate: by the ORM, in bulk and by SQL, whatever was written before."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.common.errors import Conflict
from hub.community.models import Discussion, PullRequest
from hub.repos.models import Content, Repo, RepoRelease
from moderation import guards
from moderation.guards.rules import ADDED_LATER, list_guards
from moderation.models import AuditEntry, Release, ReleaseApproval, ReleaseBasis, ReleaseStake, Screening
from moderation.policy import AWAITS_RELEASE
from training.models import Run

pytestmark = pytest.mark.django_db

DIGEST, MODEL = "sha256:approved", "sha256:model"
FREE = ("bob", "dora", "emil")  # without a stake
MAKERS = ("alice", "charlie", "teacher", "pusher")  # proposed it, brought data, proposed the run, pushed to it
GATE_WRITES = ["state", "manifest", "signature", "published_at"]
SIGNED = {"algorithm": "ed25519", "signature": "AAAA", "public_key": "AAAA"}


@dataclass
class World:
    """A proposed release with all that the gate would have written down, as rows alone."""

    people: dict[str, User]
    release: Release
    files: list[Content]
    rows: Content

    @classmethod
    def build(cls) -> "World":
        names = (*FREE, *MAKERS, "gone")
        people = {name: User.objects.create(username=name, is_active=name != "gone") for name in names}
        model, data = (
            Repo.objects.create(type=kind, name=kind, owner_user=people[owner])
            for kind, owner in (("model", "alice"), ("dataset", "charlie"))
        )
        files = [
            Content.objects.create(repo=model, digest="sha256:w", path="w", reason=AWAITS_RELEASE),
            Content.objects.create(repo=model, digest="git:card", path="README.md", clearance="cleared"),
        ]
        rows = Content.objects.create(repo=data, digest="git:rows", path="rows.jsonl", clearance="cleared")
        talk = Discussion.objects.create(
            repo=model, number=1, title="Learn", author=people["teacher"], is_pull_request=True
        )
        proposal = PullRequest.objects.create(discussion=talk, base="0" * 40, head="0" * 40)
        run = Run.objects.create(pull_request=proposal, repo=model, proposed_by=people["pusher"], model_digest=MODEL)
        screen(model, "passed")
        release = Release.objects.create(
            repo=model, version="1.0.0", commit="c" * 40, digest=DIGEST, proposed_by=people["alice"],
            manifest={
                "version": "1.0.0", "run": run.pk, "model_digest": MODEL, "gate": [{"name": "data", "state": "passed"}],
                "contributors": [{"name": "charlie", "roles": ["brought data of charlie/dataset"]}],
            },
        )  # fmt: skip
        ReleaseStake.objects.bulk_create(
            ReleaseStake(release=release, user=people[name], reason="You made it.") for name in MAKERS
        )
        ReleaseBasis.objects.bulk_create(
            ReleaseBasis(release=release, repo=content.repo, digest=content.digest) for content in (*files, rows)
        )
        return cls(people, release, files, rows)

    def approve(self, *names: str, digest: str = DIGEST) -> None:
        for name in names:
            ReleaseApproval.objects.create(release=self.release, by=self.people[name], digest=digest)

    def published(self, **changes: Any) -> dict[str, Any]:
        """The columns that the gate writes."""
        manifest = {**self.release.manifest, "approved_digest": DIGEST, "approvals": [], "reviewed": True}
        manifest["published_at"] = "2026-11-28T12:00:00+00:00"
        row = {"state": "published", "manifest": manifest, "signature": SIGNED, "published_at": timezone.now()}
        return {**row, "is_reviewed": True, **changes}

    def publish(self, **changes: Any) -> None:
        Release.objects.filter(pk=self.release.pk).update(**self.published(**changes))


@pytest.fixture
def world() -> World:
    return World.build()


def run_sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


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


def decide(content: Content, clearance: str = "pending", reason: str = "") -> None:
    Content.objects.filter(pk=content.pk).update(clearance=clearance, reason=reason)


def screen(repo: Repo, state: str) -> None:
    Screening.objects.create(subject="output", repo=repo, digest=MODEL, state=state, finished_at=timezone.now())


def add_stake(world: World, name: str) -> None:
    ReleaseStake.objects.create(release=world.release, user=world.people[name], reason="You made it.")


def shown(world: World, tag: str = "v1.0.0") -> RepoRelease:
    return RepoRelease(repo=world.release.repo, tag=tag, commit="c" * 40)


def show(world: World, tag: str = "v1.0.0") -> RepoRelease:
    row = shown(world, tag)
    row.save()
    return row


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


def forged(world: World, **changes: Any) -> Release:
    row = {"repo": world.release.repo, "version": "2.0.0", "commit": "d" * 40, "digest": DIGEST, **changes}
    return Release(**{**world.published(), **row})


def change_manifest(world: World, **changes: Any) -> dict[str, Any]:
    return {**world.published()["manifest"], **changes}


def rows_of(world: World) -> Any:
    return Release.objects.filter(pk=world.release.pk)


def changed(row: Release, **changes: Any) -> Release:
    for name, value in changes.items():
        setattr(row, name, value)
    return row


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
    from moderation import manifests

    assert ADDED_LATER == manifests.ADDED_LATER
    assert {guard.table for guard in list_guards("sqlite")} == {guard.table for guard in list_guards("postgresql")}


class Walk:
    """Random writes to one release, by every way there is; `is_due` says in Python what publishing would ask."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.acts: list[tuple[int, Callable[[], Any]]] = [
            (8, self.approve), (1, self.unapprove), (1, self.change_approval), (1, self.change_stakes), (2, self.decide),
            (1, self.screen), (1, self.come_or_go), (3, self.set_state), (1, self.change_row), (1, self.forge),
            (1, self.show), (1, self.delete),
        ]  # fmt: skip

    def step(self) -> None:
        weights = [weight for weight, _ in self.acts]
        self.chance.choices([act for _, act in self.acts], weights)[0]()

    def person(self) -> User:
        return self.world.people[self.chance.choice([*FREE, *FREE, *MAKERS, "gone"])]

    def approve(self) -> None:
        digest = DIGEST if self.chance.random() < 0.9 else "sha256:x"
        row = ReleaseApproval(release=self.world.release, by=self.person(), digest=digest)
        self.chance.choice([row.save, lambda: ReleaseApproval.objects.bulk_create([row])])()

    def unapprove(self) -> None:
        ReleaseApproval.objects.filter(by=self.person()).delete()

    def change_approval(self) -> None:
        run_sql("UPDATE moderation_releaseapproval SET by_id = %s", self.person().pk)

    def change_stakes(self) -> None:
        if self.chance.random() < 0.3:
            ReleaseStake.objects.create(release=self.world.release, user=self.person(), reason="You made it.")
        else:
            run_sql("DELETE FROM moderation_releasestake WHERE user_id = %s", self.person().pk)

    def decide(self) -> None:
        content = self.chance.choice([*self.world.files, self.world.rows])
        clearance = self.chance.choice(["cleared", "cleared", "cleared", "pending", "withheld"])
        decide(content, clearance, self.chance.choice([AWAITS_RELEASE, "Odd."]))

    def screen(self) -> None:
        state = self.chance.choice(["passed", "passed", "held", "blocked"])
        screen(self.world.release.repo, state)

    def come_or_go(self) -> None:
        person = self.person()
        User.objects.filter(pk=person.pk).update(is_active=self.chance.random() < 0.7)

    def set_state(self) -> None:
        state = self.chance.choice(
            ["published", "published", "published", "yanked", "quarantined", "refused", "proposed"]
        )
        if state == "published":
            self.publish(self.world.published(is_reviewed=self.chance.random() < 0.8))
        else:
            run_sql("UPDATE moderation_release SET state = %s", state)

    def publish(self, columns: dict[str, Any]) -> None:
        row = Release.objects.filter(pk=self.world.release.pk)
        if row.values_list("state", flat=True).first() != "proposed":
            row.update(state="published")
            return
        is_due = self.is_due(columns["is_reviewed"])
        try:
            with transaction.atomic():
                found = changed(row.get(), **columns)
                self.chance.choice([
                    lambda: row.update(**columns), found.save, lambda: Release.objects.bulk_update([found], list(columns)),
                ])()  # fmt: skip
        except IntegrityError:
            assert not is_due, "what was due was refused"
            raise
        assert is_due, "it was published past the gate"

    def is_due(self, is_reviewed: bool) -> bool:
        release = self.world.release
        makers = set(release.stakes.values_list("user__username", flat=True))
        given = release.approvals.filter(digest=DIGEST, by__is_active=True).values_list("by__username", flat=True)
        is_judged = len(set(given) - makers) >= 2 if is_reviewed else User.objects.filter(is_active=True).count() == 1
        own = [Content.objects.get(pk=row.pk) for row in self.world.files]
        is_clear = Content.objects.get(pk=self.world.rows.pk).is_cleared and all(
            row.is_cleared or (row.clearance == "pending" and row.reason == AWAITS_RELEASE) for row in own
        )
        said = Screening.objects.filter(repo=release.repo, digest=MODEL).latest("pk")
        return makers >= set(MAKERS) and is_judged and is_clear and said.state == "passed"

    def change_row(self) -> None:
        column = self.chance.choice(["commit", "digest", "version", "notes"])
        run_sql(f'UPDATE moderation_release SET "{column}" = %s', "x" * 40)

    def forge(self) -> None:
        Release.objects.bulk_create([forged(self.world, version=self.chance.choice(["1.0.0", "2.0.0"]))])

    def show(self) -> None:
        show(self.world)

    def delete(self) -> None:
        run_sql(f"DELETE FROM {self.chance.choice(['moderation_release', 'hub_reporelease'])}")


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_sequence_of_writes_publishes_past_the_gate(world: World, count: int) -> None:
    """Random writes by the ORM and by SQL. A state that strangers are shown is reached through `publish` alone, and there
    Python says whether it was due; both ways, so that the guards refuse nothing that is."""
    reached = 0
    for seed in range(count):
        with transaction.atomic():
            walk = Walk(world, random.Random(seed))
            kept: dict[str, Any] = {}
            for _ in range(24):
                before = Release.objects.filter(pk=world.release.pk).values().first()
                try:
                    with transaction.atomic():
                        walk.step()
                except IntegrityError:
                    pass
                row = Release.objects.filter(pk=world.release.pk).values().first()
                if row is None:  # a proposal may be deleted; what it was is forgotten
                    assert before is not None and before["state"] in ("proposed", "refused") and not kept
                    break
                is_out = row["state"] not in ("proposed", "refused")
                assert not kept or is_out, "what was published is no more"
                if is_out:
                    assert before is not None and (
                        kept or before["state"] == "proposed" and row["state"] == "published"
                    )
                    kept = kept or row
                    fixed = set(row) - {"state", "state_reason", "is_held_by_moderator"}
                    assert {name: row[name] for name in fixed} == {name: kept[name] for name in fixed}
                assert is_out or not RepoRelease.objects.exists()
                assert not Release.objects.exclude(pk=world.release.pk).exclude(state="proposed").exists()
            reached += bool(kept)
            transaction.set_rollback(True)
    assert reached >= count / 20  # the walk does reach the state that it guards
