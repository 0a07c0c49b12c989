"""Pull requests: opened by anybody who reads, judged as a candidate, merged by compare-and-swap, recorded once."""

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, RepoNotFound
from tests.hub.scenes import add, clear, make_repo, members_head, operations, propose, public_head, withhold

pytestmark = pytest.mark.django_db


@pytest.fixture
def writer(bob, tides):
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=tides, user=bob.user, role="write")
    return bob


@pytest.fixture
def proposal(charlie, tides):
    """Charlie, a stranger, proposes a.txt; it is cleared."""
    pull_request = propose(tides, charlie.user, {"a.txt": "one"})
    clear(tides)
    return fresh(pull_request)


def fresh(pull_request):
    from hub.community.models import PullRequest

    return PullRequest.objects.select_related("discussion__repo", "discussion__author").get(pk=pull_request.pk)


def push(pull_request, person, files, **more):
    from hub.community.contributions import commit

    given = {"revision": pull_request.ref, "title": "More", "door": "api", "operations": operations(files), **more}
    return commit(repo=pull_request.discussion.repo, by=person.user, **given)


def merge(pull_request, person, **more):
    from hub.community.pull_requests import merge as merge_it

    return merge_it(pull_request=fresh(pull_request), by=person.user, **more)


def approve(pull_request, person, **more):
    from hub.community.reviews import review

    row = fresh(pull_request)
    return review(pull_request=row, by=person.user, verdict="approve", **{"digest": row.candidate_digest, **more})


def requirements(pull_request, person):
    from hub.community.pull_requests import unmet_requirements

    return unmet_requirements(fresh(pull_request), person.user)


def files_of(repo, commit):
    from hub.repos.places import pair

    members = pair(repo).members
    return {
        entry.path: members.read(commit, entry.path) for entry in members.tree(commit) if entry.path != ".gitattributes"
    }


def kinds(pull_request):
    return [event.kind for event in pull_request.discussion.events.all()]


# --- opening


def test_a_proposal_has_a_candidate_of_target_and_change(alice, charlie, tides, proposal):
    assert (proposal.ref, proposal.target, proposal.base) == ("refs/pr/1", "main", members_head(tides))
    assert members_head(tides, "refs/convert/candidate_1") == proposal.candidate
    assert files_of(tides, proposal.candidate) == {"a.txt": b"one"}
    assert proposal.candidate_target == proposal.base and proposal.candidate_digest.startswith("git:")
    assert not proposal.is_trained and kinds(proposal) == ["commit"]


def test_a_draft_opens_with_its_first_commit(charlie, tides):
    from hub.community.events import pull_request_updated
    from hub.community.pull_requests import open_pull_request

    heard = []

    def hear(pull_request, reason, **_):
        heard.append(reason)

    pull_request_updated.connect(hear)
    try:
        draft = open_pull_request(repo=tides, by=charlie.user, title="A new table", is_draft=True)
        assert (draft.discussion.status, heard) == ("draft", [])
        push(draft, charlie, {"a.txt": "one"})
        push(draft, charlie, {"b.txt": "two"})
    finally:
        pull_request_updated.disconnect(hear)
    assert fresh(draft).discussion.status == "open" and heard == ["opened", "pushed"]


def test_a_draft_is_merged_by_nobody(alice, charlie, tides):
    from hub.community.pull_requests import open_pull_request

    draft = open_pull_request(repo=tides, by=charlie.user, title="A new table", is_draft=True)
    assert requirements(draft, alice)[:2] == [
        "It is a draft; its author marks it as ready by opening it.",
        "It has no commits yet.",
    ]


def test_a_private_repository_takes_proposals_of_its_people_only(alice, charlie, unscreened):
    diary = make_repo(alice.user, "diary", is_private=True)
    with pytest.raises(RepoNotFound):
        propose(diary, charlie.user, {"a.txt": "one"})
    assert propose(diary, alice.user, {"a.txt": "one"}).discussion.number == 1


def test_a_discussion_is_no_pull_request(alice, charlie, tides):
    from hub.community.discussions import create_discussion
    from hub.community.pull_requests import find_pull_request

    create_discussion(repo=tides, by=charlie.user, title="High water")
    with pytest.raises(NotFound, match="alice/tides#1 is a discussion, not a pull request"):
        find_pull_request(tides, 1, alice.user)
    with pytest.raises(NotFound, match="no discussion 2"):
        find_pull_request(tides, 2, alice.user)


def test_an_interrupted_opening_leaves_nothing_half_open(charlie, tides, monkeypatch):
    from hub.community import pull_requests
    from hub.community.interrupted import finish_interrupted
    from hub.community.models import Discussion
    from hub.repos.commits import reconcile

    def crash(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pull_requests, "move_ref", crash)
        propose(tides, charlie.user, {"a.txt": "one"})
    assert Discussion.objects.exists()
    finish_interrupted(reconcile(older_than_s=0))
    assert not Discussion.objects.exists()


# --- what blocks a merge, by name


def test_a_maintainer_merges_the_work_of_somebody_else(alice, charlie, tides, proposal):
    revision = merge(proposal, alice, text="Thank you!")
    merged = fresh(proposal)
    assert merged.discussion.status == "merged" and merged.merged_by == alice.user and not merged.merged_unreviewed
    assert revision.commit == merged.merge_commit == proposal.candidate == members_head(tides)
    assert files_of(tides, revision.commit) == {"a.txt": b"one"}
    assert kinds(proposal) == ["commit", "comment", "status-change", "merge"]
    assert public_head(tides) == revision.commit
    credited = tides.revisions.get(commit=proposal.head)
    assert credited.author == charlie.user


def test_what_is_merged_or_closed_is_not_merged_again(alice, charlie, proposal):
    from hub.community.discussions import set_status

    set_status(discussion=proposal.discussion, by=charlie.user, status="closed")
    assert requirements(proposal, alice) == ["It is closed; reopen it first."]
    set_status(discussion=proposal.discussion, by=charlie.user, status="open")
    merge(proposal, alice)
    with pytest.raises(Conflict, match="It is merged already"):
        merge(proposal, alice)
    for status in ("open", "closed"):
        with pytest.raises(InvalidInput, match="is merged; open a new one"):
            set_status(discussion=fresh(proposal).discussion, by=alice.user, status=status)
    with pytest.raises(Forbidden, match="is merged; open a new one"):
        push(proposal, charlie, {"b.txt": "two"})


def test_who_may_not_write_does_not_merge(charlie, proposal):
    with pytest.raises(Forbidden):
        merge(proposal, charlie)
    assert requirements(proposal, charlie)[-1:] == ["Merging needs write access to this repository."]


def test_a_conflict_is_named_with_its_files_and_can_be_mended(alice, charlie, tides, proposal):
    add(tides, alice.user, {"a.txt": "another one"})
    clear(tides)
    blocked = fresh(proposal)
    assert blocked.conflict_paths == ["a.txt"] and blocked.candidate_digest == ""
    assert "It conflicts with main in a.txt; update the pull request." in requirements(proposal, alice)
    with pytest.raises(Conflict, match="It conflicts with main in a.txt") as refusal:
        merge(proposal, alice)
    assert "It conflicts with main in a.txt; update the pull request." in refusal.value.extra["reasons"]
    push(proposal, charlie, {"a.txt": None, "b.txt": "one"})
    clear(tides)
    assert fresh(proposal).conflict_paths == []
    merge(proposal, alice)
    assert files_of(tides, members_head(tides)) == {"a.txt": b"another one", "b.txt": b"one"}


def test_what_is_not_cleared_is_not_merged(alice, charlie, tides):
    pull_request = propose(tides, charlie.user, {"a.txt": "hf_key"})
    assert requirements(pull_request, alice) == ["a.txt waits for screening."]
    withhold(tides, "a.txt", reason="It holds a key.")
    assert requirements(pull_request, alice) == ["a.txt is withheld: It holds a key."]
    clear(tides)
    assert requirements(pull_request, alice) == []


def test_required_checks_block_by_name_until_they_pass(alice, proposal):
    from hub.community.checks import set_check

    set_check(proposal, "evaluate", state="running", summary="3 of 5 tasks done.")
    set_check(proposal, "style", state="failed", summary="Lines are long.", is_required=False)
    assert [reason for reason in requirements(proposal, alice) if "check" in reason] == [
        "The check 'evaluate' is running: 3 of 5 tasks done."
    ]
    set_check(proposal, "evaluate", state="passed", summary="Not worse anywhere.")
    assert requirements(proposal, alice) == []


def test_a_target_that_was_deleted_is_named(alice, charlie, tides):
    from hub.repos.refs import create_branch, delete_branch

    create_branch(repo=tides, by=alice.user, name="dev", start=members_head(tides))
    pull_request = propose(tides, charlie.user, {"a.txt": "one"}, revision="dev")
    clear(tides)
    delete_branch(repo=tides, by=alice.user, name="dev")
    push(pull_request, charlie, {"b.txt": "two"})
    assert requirements(pull_request, alice) == ["Its target 'dev' does not exist any more; open a new one."]
    with pytest.raises(Conflict, match="Its target 'dev' does not exist any more"):
        merge(pull_request, alice)


def test_commits_that_were_pushed_to_the_target_by_hand_are_not_merged_again(alice, tides, proposal):
    from hub.repos.commits import move_ref

    ref, head = "refs/heads/main", members_head(tides)
    move_ref(repo=tides, ref=ref, new=proposal.head, expected=head, by=alice.user, door="git")
    with pytest.raises(Conflict, match="Its commits are in main already"):
        merge(proposal, alice)
    assert members_head(tides) == proposal.head


# --- approvals


def test_ones_own_change_needs_an_approval_while_somebody_else_could_give_it(alice, writer, tides):
    pull_request = propose(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    assert requirements(pull_request, alice) == [
        "It needs an approval of this candidate by somebody else with write access."
    ]
    assert requirements(pull_request, writer) == []  # whose merge is the approval
    approve(pull_request, writer, digest=fresh(pull_request).candidate_digest)
    merge(pull_request, alice)


def test_who_is_alone_merges_alone(alice, tides):
    pull_request = propose(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    merge(pull_request, alice)
    assert fresh(pull_request).merged_unreviewed


def test_nobody_approves_their_own_work(alice, charlie, writer, tides, proposal):
    own = propose(tides, alice.user, {"b.txt": "two"})
    for pull_request, person, words in (
        (own, alice, "You opened this pull request; somebody else has to approve it"),
        (proposal, charlie, "You opened this pull request"),
    ):
        with pytest.raises(Forbidden, match=words):
            approve(pull_request, person)


def test_a_stranger_comments_and_does_not_approve(bob, proposal):
    from hub.community.reviews import review

    with pytest.raises(Forbidden, match="Only people with write access to this repository can approve"):
        approve(proposal, bob)
    review(pull_request=proposal, by=bob.user, verdict="comment", text="I like it.")
    assert requirements(proposal, bob) == ["Merging needs write access to this repository."]


def test_an_approval_is_stale_after_a_push(alice, charlie, writer, tides):
    from hub.community.reviews import is_stale, valid_approvals

    pull_request = propose(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    given = approve(pull_request, writer)
    assert [row.pk for row in valid_approvals(fresh(pull_request))] == [given.pk]
    push(pull_request, alice, {"a.txt": "two"})
    clear(tides)
    given.refresh_from_db()
    assert is_stale(given) and valid_approvals(fresh(pull_request)) == []
    assert len(requirements(pull_request, alice)) == 1


def test_an_approval_of_what_is_not_there_any_more_is_refused(alice, charlie, proposal):
    seen = proposal.candidate_digest
    push(proposal, charlie, {"a.txt": "two"})
    with pytest.raises(Conflict, match="The candidate has changed since you looked"):
        approve(proposal, alice, digest=seen)


def test_an_approval_names_the_candidate_that_was_looked_at(alice, proposal):
    """A form that was drawn while the candidate was being built carried none, and approved whatever stood there by then."""
    with pytest.raises(InvalidInput, match="digest of the candidate that you looked at"):
        approve(proposal, alice, digest="")
    assert not proposal.reviews.exists()


def test_requested_changes_block_until_taken_back(alice, writer, proposal):
    from hub.community.reviews import review

    review(pull_request=proposal, by=writer.user, verdict="request_changes", text="Units, please.")
    assert requirements(proposal, alice) == ["bob requested changes."]
    approve(proposal, writer)
    assert requirements(proposal, alice) == []


def test_an_approval_of_who_lost_the_right_does_not_count(alice, writer, tides):
    from hub.community.reviews import valid_approvals
    from hub.repos.models import RepoCollaborator

    pull_request = propose(tides, alice.user, {"a.txt": "one"})
    approve(pull_request, writer)
    RepoCollaborator.objects.all().update(role="read")
    assert valid_approvals(fresh(pull_request)) == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"verdict": "praise"}, InvalidInput),
        ({"verdict": "comment", "text": " "}, InvalidInput),
        ({"verdict": "approve", "text": "x" * 65_537}, InvalidInput),
    ],
)
def test_a_review_is_a_known_verdict_with_words_of_bounded_length(alice, proposal, given, error):
    from hub.community.reviews import review

    with pytest.raises(error):
        review(pull_request=proposal, by=alice.user, **given)
    assert not proposal.reviews.exists()


def test_what_is_closed_is_not_reviewed(alice, charlie, proposal):
    from hub.community.discussions import set_status

    set_status(discussion=proposal.discussion, by=charlie.user, status="closed")
    with pytest.raises(InvalidInput, match="is closed; there is nothing to review"):
        approve(proposal, alice)


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


# --- weights, made elsewhere


def test_a_changed_recipe_of_a_model_makes_weights_and_nothing_is_merged_before_they_are_judged(
    alice, charlie, unscreened
):
    model = make_repo(alice.user, "poems", type="model")
    pull_request = propose(model, charlie.user, {"recipe.yaml": "version: 1"})
    clear(model)
    assert fresh(pull_request).is_trained and fresh(pull_request).candidate_digest == ""
    assert "It needs an approval of this candidate by somebody else with write access." in requirements(
        pull_request, alice
    )
    with pytest.raises(Conflict):
        merge(pull_request, alice)
    data = make_repo(alice.user, "tides-2")
    assert not propose(data, charlie.user, {"recipe.yaml": "version: 1"}).is_trained


# --- the bell and the lists


def test_who_writes_here_hears_of_a_proposal_and_its_author_of_the_end(alice, charlie, proposal):
    from hub.community.models import Notification

    def told(person):
        return list(Notification.objects.filter(user=person.user).order_by("pk").values_list("text", flat=True))

    assert told(alice) == ["charlie opened the proposal alice/tides#1: Propose a change"]
    merge(proposal, alice)
    assert "alice/tides#1 was merged: Propose a change" in told(charlie)


def test_what_blocks_a_merge_costs_the_same_for_small_and_large_proposals(
    alice, charlie, tides, proposal, django_assert_max_num_queries
):
    for number in range(8):
        push(proposal, charlie, {f"{number}.txt": str(number)})
    clear(tides)
    row = fresh(proposal)
    from hub.community.pull_requests import unmet_requirements

    with django_assert_max_num_queries(12):
        assert unmet_requirements(row, alice.user) == []
