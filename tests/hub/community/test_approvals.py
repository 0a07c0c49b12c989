"""Who approves a pull request, of what, and when that counts no more."""

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput
from tests.hub.community.proposals import approve, fresh, merge, push, requirements
from tests.hub.scenes import clear, propose

pytestmark = pytest.mark.django_db


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
