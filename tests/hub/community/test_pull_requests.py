"""Pull requests: opened by anybody who reads, judged as a candidate, merged when nothing that is named blocks it."""

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, RepoNotFound
from tests.hub.community.proposals import files_of, fresh, kinds, merge, push, requirements
from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head, withhold

pytestmark = pytest.mark.django_db


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
