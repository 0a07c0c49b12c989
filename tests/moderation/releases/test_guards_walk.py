"""No sequence of random writes, by the ORM or by SQL, publishes a release past the gate."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from hub.accounts.models import User
from hub.repos.models import Content, RepoRelease
from moderation.models import Release, ReleaseApproval, ReleaseStake, Screening
from moderation.rules.reasons import AWAITS_RELEASE
from tests.moderation.releases.world import (
    DIGEST,
    FREE,
    MAKERS,
    MODEL,
    World,
    changed,
    decide,
    forged,
    run_sql,
    screen,
    show,
)

pytestmark = pytest.mark.django_db


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
