"""Merges while the target moves, side by side, and cut off by a crash."""

import pytest

from hub.common.errors import Conflict, InvalidInput
from tests.hub.community.proposals import files_of, fresh, kinds, merge, push
from tests.hub.scenes import add, clear, members_head, propose

pytestmark = pytest.mark.django_db


# --- when the target moves


def test_a_target_that_moved_builds_the_candidate_again(alice, tides, proposal):
    add(tides, alice.user, {"b.txt": "two"})
    moved = fresh(proposal)
    assert moved.candidate != proposal.candidate and moved.candidate_target == members_head(tides)
    assert files_of(tides, moved.candidate) == {"a.txt": b"one", "b.txt": b"two"}
    assert moved.candidate_digest != proposal.candidate_digest


def test_a_merge_takes_in_what_came_to_the_target_meanwhile(alice, tides, proposal, monkeypatch):
    """Even when nobody told the pull request."""
    from hub.community import listeners

    with monkeypatch.context() as patch:
        patch.setattr(listeners, "target_moved", lambda *_: None)
        add(tides, alice.user, {"b.txt": "two"})
    assert fresh(proposal).candidate == proposal.candidate
    clear(tides)
    assert files_of(tides, merge(proposal, alice).commit) == {"a.txt": b"one", "b.txt": b"two"}


def test_a_reopened_proposal_catches_up_with_its_target(alice, charlie, tides, proposal):
    from hub.community.discussions import set_status

    set_status(discussion=proposal.discussion, by=charlie.user, status="closed")
    add(tides, alice.user, {"a.txt": "another one"})
    assert fresh(proposal).conflict_paths == []
    set_status(discussion=fresh(proposal).discussion, by=charlie.user, status="open")
    assert fresh(proposal).conflict_paths == ["a.txt"]


def test_the_proposal_that_is_being_merged_keeps_the_candidate_that_was_judged(alice, charlie, tides, proposal):
    other = propose(tides, charlie.user, {"b.txt": "two"})
    clear(tides)
    merge(proposal, alice)
    assert fresh(proposal).candidate == proposal.candidate == members_head(tides)
    assert fresh(other).candidate_target == proposal.candidate


# --- races and crashes


def test_a_second_merge_that_comes_between_is_told_and_nothing_is_merged_twice(
    alice, writer, tides, proposal, monkeypatch
):
    from hub.community import pull_requests

    record = pull_requests.record_merge

    def merge_in_between(*arguments):
        with pytest.raises(Conflict, match="Its commits are in main already"):
            merge(proposal, writer)
        return record(*arguments)

    monkeypatch.setattr(pull_requests, "record_merge", merge_in_between)
    assert merge(proposal, alice).commit == members_head(tides)
    assert kinds(proposal).count("merge") == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_merge_at_once_one_does(alice, writer, tides, proposal):
    from tests.beside import at_once

    results = at_once(lambda: merge(proposal, alice), lambda: merge(proposal, writer), lambda: merge(proposal, alice))
    refused = [one for one in results if isinstance(one, Exception)]
    assert [type(one) for one in refused] == [Conflict, Conflict]
    merged = fresh(proposal)
    assert merged.merge_commit == members_head(tides) and kinds(proposal).count("merge") == 1
    history = {info.oid for info in history_of(tides)}
    assert len(history) == 3  # first commit, the change, one merge


@pytest.mark.django_db(transaction=True)
def test_two_proposals_that_are_merged_at_once_are_both_in(alice, writer, charlie, tides, proposal):
    from tests.beside import at_once

    other = propose(tides, charlie.user, {"b.txt": "two"})
    clear(tides)
    results = at_once(lambda: merge(proposal, alice), lambda: merge(other, writer))
    assert not [one for one in results if isinstance(one, Exception)], results
    assert files_of(tides, members_head(tides)) == {"a.txt": b"one", "b.txt": b"two"}
    assert {fresh(one).discussion.status for one in (proposal, other)} == {"merged"}


def history_of(repo):
    from hub.repos.places import pair

    return pair(repo).members.history(members_head(repo))


def test_a_merge_that_a_crash_cut_off_is_recorded_for_who_merged(alice, writer, tides, proposal, monkeypatch):
    from hub.community import pull_requests
    from hub.community.interrupted import finish_interrupted
    from hub.repos.commits import reconcile

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pull_requests, "record_merge", crash)
        merge(proposal, writer)
    assert members_head(tides) == proposal.candidate and fresh(proposal).discussion.status == "open"
    add(tides, alice.user, {"b.txt": "two"})  # life goes on
    assert finish_interrupted(reconcile(older_than_s=0)) == 1
    merged = fresh(proposal)
    assert (merged.discussion.status, merged.merged_by, merged.merge_commit) == (
        "merged",
        writer.user,
        proposal.candidate,
    )
    assert kinds(proposal).count("merge") == 1 and finish_interrupted(reconcile(older_than_s=0)) == 0


def test_a_merge_is_recorded_once_by_whomever(alice, tides, proposal):
    from hub.community.pull_requests import move_target, record_merge

    move_target(proposal, alice.user)
    for _ in range(2):
        assert record_merge(fresh(proposal), alice.user, "").commit == members_head(tides)
    assert kinds(proposal).count("merge") == 1


def test_a_comment_that_is_too_long_is_refused_before_anything_moves(alice, tides, proposal):
    before = members_head(tides)
    with pytest.raises(InvalidInput, match="at most 65,536 characters"):
        merge(proposal, alice, text="x" * 65_537)
    assert members_head(tides) == before and fresh(proposal).discussion.status == "open"


def test_a_push_that_a_crash_cut_off_is_told_later(charlie, tides, proposal, monkeypatch):
    from hub.community import contributions
    from hub.community.interrupted import finish_interrupted
    from hub.repos.commits import reconcile

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(contributions, "head_moved", crash)
        push(proposal, charlie, {"b.txt": "two"})
    assert fresh(proposal).head == proposal.head
    assert finish_interrupted(reconcile(older_than_s=0)) == 1
    caught_up = fresh(proposal)
    assert caught_up.head == members_head(tides, proposal.ref)
    assert files_of(tides, caught_up.candidate) == {"a.txt": b"one", "b.txt": b"two"}
