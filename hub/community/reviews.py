"""Reviews: bound to the digest of the candidate that was judged, so that another candidate makes them stale."""

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require, role_of
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.candidates import people_behind
from hub.community.discussions import add_event, check_comment
from hub.community.events import review_given
from hub.community.models import Discussion, PullRequest, Review


@transaction.atomic
def review(*, pull_request: PullRequest, by: User, verdict: str, text: str = "", digest: str = "") -> Review:
    """Give a verdict on the candidate as it stands. An approval states its `digest`, so that nobody approves what came
    in between.

    Raises Forbidden for approving one's own work or without write access."""
    require(by, "discuss", pull_request.discussion.repo)
    row = PullRequest.objects.select_for_update().select_related("discussion__repo").get(pk=pull_request.pk)
    if verdict not in Review.Verdict.values:
        raise InvalidInput(f"The verdict {verdict!r} does not exist; use approve, request_changes or comment.")
    if row.discussion.status not in (Discussion.Status.OPEN, Discussion.Status.DRAFT):
        raise InvalidInput(f"This pull request is {row.discussion.status}; there is nothing to review any more.")
    if verdict == Review.Verdict.APPROVE:
        check_may_approve(row, by)
        check_was_seen(row, digest)
    if text.strip() or verdict != Review.Verdict.APPROVE:
        text = check_comment(text)
    given = Review.objects.create(pull_request=row, by=by, verdict=verdict, digest=row.candidate_digest, text=text)
    add_event(row.discussion, "review", by, verdict=verdict, digest=row.candidate_digest, text=text)
    transaction.on_commit(lambda: review_given.send(Review, review=given))
    return given


def check_may_approve(pull_request: PullRequest, by: User) -> None:
    if pull_request.discussion.author_id == by.pk:
        raise Forbidden("You opened this pull request; somebody else has to approve it.")
    if by.pk in people_behind(pull_request):
        raise Forbidden("You pushed commits to this pull request; somebody else has to approve it.")
    if not can(by, "review", pull_request.discussion.repo):
        raise Forbidden("Only people with write access to this repository can approve; leave a comment instead.")
    if not pull_request.candidate_digest:
        raise Conflict("There is no candidate to approve yet; wait until it is built, or mend the conflict.")


def check_was_seen(pull_request: PullRequest, digest: str) -> None:
    if not digest:
        raise InvalidInput(
            "An approval needs the digest of the candidate that you looked at; reload the page and judge it."
        )
    if digest != pull_request.candidate_digest:
        raise Conflict("The candidate has changed since you looked; reload the page and judge the new one.")


def standing_reviews(pull_request: PullRequest) -> list[Review]:
    """The latest verdict of each person that is no mere comment."""
    latest: dict[int, Review] = {}
    for row in pull_request.reviews.select_related("by").exclude(verdict=Review.Verdict.COMMENT).order_by("id"):
        latest[row.by_id] = row
    return list(latest.values())


def is_stale(given: Review) -> bool:
    return given.digest != given.pull_request.candidate_digest


def valid_approvals(pull_request: PullRequest) -> list[Review]:
    """Approvals of exactly this candidate by others who may write: nobody counts who opened it or pushed to it."""
    given = [
        row
        for row in standing_reviews(pull_request)
        if row.verdict == Review.Verdict.APPROVE
        and row.digest == pull_request.candidate_digest
        and role_of(row.by, pull_request.discussion.repo) in ("write", "admin")
    ]
    behind = people_behind(pull_request) if given else set()
    return [row for row in given if row.by_id not in behind]


def needed_approvals(pull_request: PullRequest, by: User) -> int:
    """How many approvals this merge needs.

    Trained weights: one by somebody else. Files only: merging somebody else's work is the approval; one's own needs
    one, unless nobody else could give it."""
    if pull_request.is_trained:
        return 0 if count_active_people() == 1 else 1
    if pull_request.discussion.author_id != by.pk:
        return 0
    return 1 if has_other_writer(pull_request, by) else 0


def has_other_writer(pull_request: PullRequest, by: User) -> bool:
    repo = pull_request.discussion.repo
    if repo.collaborators.filter(role__in=("write", "admin"), user__is_active=True).exclude(user=by).exists():
        return True
    if repo.owner_user_id is not None:
        return repo.owner_user_id != by.pk
    members = repo.owner_organization.memberships.filter(role__in=("write", "admin"), user__is_active=True)  # type: ignore[union-attr]
    return members.exclude(user=by).exists()
