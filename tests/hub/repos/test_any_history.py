"""Whatever people do in whatever order: the public half holds cleared text only, and main is its newest clear commit."""

import itertools
import subprocess

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hub.common.errors import HubError
from tests.hub.scenes import add, decide, make_repo, members_head, propose, public_head, public_texts

pytestmark = pytest.mark.django_db

TEXTS = st.sampled_from(["tide", "ebb", "key-1", "key-2", "name"])  # few, so that the same text comes back
PATHS = st.sampled_from(["a.txt", "b.txt", "data/c.txt"])
BRANCHES = st.sampled_from(["refs/heads/main", "refs/heads/dev"])
VERDICTS = st.sampled_from(["cleared", "cleared", "withheld", "pending"])
numbers = itertools.count()


def reachable_texts(path, commit):
    """All texts in a commit and its ancestors, asked of git itself."""
    listing = ["git", "-C", path, "rev-list", "--objects", "--no-object-names", commit]
    objects = subprocess.run(listing, capture_output=True, check=True).stdout
    batch = ["git", "-C", path, "cat-file", "--batch-check=%(objectname) %(objecttype)"]
    rows = subprocess.run(batch, input=objects, capture_output=True, check=True, text=False).stdout.decode().split("\n")
    return {f"git:{oid}" for oid, kind in (row.split() for row in rows if row) if kind == "blob"}


class OneRepository(RuleBasedStateMachine):
    alice = charlie = None  # set by the test

    def __init__(self):
        super().__init__()
        self.repo = make_repo(self.alice, f"tides-{next(numbers)}")
        self.proposals = []

    # --- what people do

    @rule(ref=BRANCHES, path=PATHS, text=TEXTS)
    def commit(self, ref, path, text):
        if members_head(self.repo, ref):
            add(self.repo, self.alice, {path: text}, ref=ref)

    @rule(ref=BRANCHES, path=PATHS)
    def delete(self, ref, path):
        try:
            add(self.repo, self.alice, {path: None}, ref=ref)
        except HubError:
            pass  # it is not there

    @rule()
    def branch(self):
        from hub.repos.commits import move_ref

        if not members_head(self.repo, "refs/heads/dev"):
            head = members_head(self.repo)
            move_ref(repo=self.repo, ref="refs/heads/dev", new=head, expected=None, by=self.alice, door="api")

    @rule()
    def rewind(self):
        from hub.repos.commits import move_ref
        from hub.repos.places import pair

        head = members_head(self.repo)
        parents = pair(self.repo).members.commit_info(head).parents
        if parents:
            ref = "refs/heads/main"
            move_ref(repo=self.repo, ref=ref, new=parents[0], expected=head, by=self.alice, door="git")

    @rule(path=PATHS, text=TEXTS)
    def propose_as_a_stranger(self, path, text):
        try:
            self.proposals.append(propose(self.repo, self.charlie, {path: text}))
        except HubError:
            assert (
                public_head(self.repo) is None or self.repo.is_private
            )  # there is nothing that a stranger could change

    @precondition(lambda self: self.proposals)
    @rule(data=st.data())
    def merge_a_proposal(self, data):
        from hub.community.pull_requests import merge

        try:
            merge(pull_request=data.draw(st.sampled_from(self.proposals)), by=self.alice)
        except HubError as refusal:
            assert "cannot be merged yet" in refusal.message

    # --- what moderation and the owner decide

    @rule(data=st.data(), verdict=VERDICTS)
    def judge(self, data, verdict):
        paths = sorted(self.repo.contents.values_list("path", flat=True))
        decide(self.repo, verdict, data.draw(st.sampled_from(paths)))

    @rule()
    def clear_all(self):
        decide(self.repo, "cleared")

    @rule()
    def turn_private_or_public(self):
        from hub.repos.lifecycle import update_settings

        update_settings(repo=self.repo, by=self.alice, is_private=not self.repo.is_private)

    # --- what holds

    @invariant()
    def the_public_half_holds_cleared_text_only(self):
        held = public_texts(self.repo)
        if self.repo.is_private:
            assert held == set()
        cleared = self.digests("cleared")
        assert {digest(text) for text in held} <= cleared

    @invariant()
    def public_main_is_the_newest_clear_commit_of_its_line(self):
        from hub.repos.places import pair

        members = pair(self.repo).members
        cleared = self.digests("cleared")
        current = members_head(self.repo)
        while current and not reachable_texts(str(members.path), current) <= cleared:
            parents = members.commit_info(current).parents
            current = parents[0] if parents else None
        expected = None if self.repo.is_private else current
        assert public_head(self.repo) == expected
        self.repo.refresh_from_db()
        assert (self.repo.public_head or None) == expected and self.repo.head == members_head(self.repo)

    def digests(self, clearance):
        return set(self.repo.contents.filter(clearance=clearance).values_list("digest", flat=True))


def digest(text):
    import hashlib

    return "git:" + hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()


def test_strangers_are_never_shown_what_is_not_cleared(alice, charlie, unscreened):
    class Case(OneRepository):
        pass

    Case.alice, Case.charlie = alice.user, charlie.user
    run_state_machine_as_test(
        Case,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
