"""Uploads, commits, proposals, merges, deletions and collections in any order, collections also in the middle of an upload:
every file is read back through its tree after each step."""

from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hub.common.errors import InvalidInput
from tests.hub.repos.collecting import DAY, collect, commit_file, delete, is_stored, noise, upload
from tests.hub.scenes import clear, make_repo, members_head

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("unscreened")]


# --- in any order


class Town(RuleBasedStateMachine):
    """`files`: what must be readable now: (repository, ref, path) -> content. Time passes; nothing else is trusted."""

    people: Any

    def __init__(self) -> None:
        super().__init__()
        self.now = timezone.now()
        self.count = 0
        self.repos: list[Any] = []
        self.files: dict[tuple[int, str, str], bytes] = {}
        self.waiting: list[tuple[Any, Any, bytes, Any]] = []  # and since when
        self.proposals: list[Any] = []
        self.ever: dict[str, Any] = {}
        self.make_repo()

    @precondition(lambda self: len(self.repos) < 3)
    @rule()
    def make_repo(self) -> None:
        self.count += 1
        self.repos.append(make_repo(self.people["alice"].user, f"tides-{type(self).serial}-{self.count}"))
        type(self).serial += 1

    @precondition(lambda self: self.repos)
    @rule(which=st.integers(0, 2), seed=st.integers(0, 5))
    def upload(self, which: int, seed: int) -> None:
        """Few different contents, so that repositories share them."""
        repo = self.repos[which % len(self.repos)]
        stored = upload(repo, self.people["alice"].user, noise(seed))
        self.ever[stored.sha256] = stored
        self.waiting.append((repo, stored, noise(seed), self.now))

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 9))
    def commit(self, place: int) -> None:
        repo, stored, data, since = self.waiting.pop(place % len(self.waiting))
        self.count += 1
        path = f"{self.count}.bin"
        try:
            commit_file(repo, self.people["alice"].user, path, stored)
        except InvalidInput:
            self.check_refusal(stored, since)
            return
        self.files[repo.pk, "main", path] = data

    @precondition(lambda self: self.waiting)
    @rule(place=st.integers(0, 9))
    def propose(self, place: int) -> None:
        repo, stored, data, since = self.waiting.pop(place % len(self.waiting))
        self.count += 1
        path = f"{self.count}.bin"
        try:
            made = commit_file(repo, self.people["alice"].user, path, stored, create_pr=True)
        except InvalidInput:
            self.check_refusal(stored, since)
            return
        self.proposals.append((repo, made.pull_request, path, data))
        self.files[repo.pk, made.pull_request.ref, path] = data

    def check_refusal(self, stored: Any, since: Any) -> None:
        """It waited for too long, and the refusal says so; another upload elsewhere may have brought the bytes again."""
        assert not is_stored(stored) or self.now - since >= 30 * DAY

    @precondition(lambda self: self.proposals)
    @rule(place=st.integers(0, 9))
    def merge(self, place: int) -> None:
        from hub.community.pull_requests import merge

        repo, pull_request, path, data = self.proposals.pop(place % len(self.proposals))
        clear(repo)
        merge(pull_request=pull_request, by=self.people["alice"].user)
        self.files[repo.pk, "main", path] = data

    @precondition(lambda self: self.files)
    @rule(place=st.integers(0, 99))
    def rewrite_history_without_a_file(self, place: int) -> None:
        """main goes back to its first commit; what only it named is let go."""
        from hub.repos.commits import move_ref
        from hub.repos.places import pair

        key = sorted(self.files)[place % len(self.files)]
        repo = next(repo for repo in self.repos if repo.pk == key[0])
        members = pair(repo).members
        first = members.ancestors_not_in(members_head(repo), [])[0]
        move_ref(repo=repo, ref="refs/heads/main", new=first, expected=members_head(repo), by=None, door="hub")
        self.files = {k: data for k, data in self.files.items() if (k[0], k[1]) != (repo.pk, "main")}
        self.proposals = [row for row in self.proposals if row[0].pk != repo.pk]

    @precondition(lambda self: len(self.repos) > 1)
    @rule(which=st.integers(0, 2))
    def delete_repo(self, which: int) -> None:
        repo = self.repos.pop(which % len(self.repos))
        key = repo.pk
        delete(repo, self.people["alice"].user)
        self.files = {k: data for k, data in self.files.items() if k[0] != key}
        self.waiting = [row for row in self.waiting if row[0] is not repo]
        self.proposals = [row for row in self.proposals if row[0] is not repo]

    @precondition(lambda self: self.repos)
    @rule(which=st.integers(0, 2), days=st.integers(0, 29))
    def delete_and_bring_back(self, which: int, days: int) -> None:
        """Within its grace by the clock of the collections, which runs ahead."""
        from hub.repos.deleted import restore_repo
        from hub.repos.models import Repo

        repo = self.repos[which % len(self.repos)]
        delete(repo, self.people["alice"].user)
        Repo.everything.filter(pk=repo.pk).update(deleted_at=self.now)
        self.now += days * DAY
        collect(now=self.now)
        restore_repo(repo=repo, by=self.people["alice"].user)
        repo.refresh_from_db()

    @rule(days=st.integers(1, 45))
    def collect(self, days: int) -> None:
        """Doors write with the real clock, so the collection looks from ahead; each goes further."""
        self.now += days * DAY
        collect(now=self.now)

    @invariant()
    def everything_in_reach_reads_back(self) -> None:
        from hub.community.contributions import reader_for

        for (key, ref, path), data in self.files.items():
            repo = next(repo for repo in self.repos if repo.pk == key)
            reader = reader_for(repo, self.people["alice"].user)
            commit = reader.resolve(ref)
            assert b"".join(reader.read_entry(commit, reader.entry(commit, path))) == data

    def teardown(self) -> None:
        """With nothing named any more everything goes: the collection does give space back."""
        for repo in self.repos:
            delete(repo, self.people["alice"].user)
        for days in (100, 200):
            collect(now=self.now + days * DAY)
        assert not [stored for stored in self.ever.values() if is_stored(stored)]


@pytest.mark.parametrize("examples", [8, pytest.param(60, marks=pytest.mark.slow)], ids=["some", "many"])
def test_no_order_of_acts_and_collections_loses_a_byte(examples: int, alice: Any):
    Town.people, Town.serial = {"alice": alice}, 0
    run_state_machine_as_test(
        Town,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            phases=[Phase.generate],  # to shrink a story of so many files takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
