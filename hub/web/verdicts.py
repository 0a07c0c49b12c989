"""What stands between a proposal and its target, said in one line: the first thing its page shows."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from hub.accounts.permissions import can
from hub.community import pull_requests as community
from hub.community.candidates import people_behind
from hub.community.disclosure import told_checks
from hub.community.models import Check, Discussion, PullRequest, Review
from hub.community.reviews import has_other_writer, is_stale

NEEDS_WRITE = "Merging needs write access to this repository."


@dataclass(frozen=True)
class Verdict:
    """The first thing the page says."""

    tone: str  # good | warn | danger | info
    icon: str
    title: str
    reasons: list[str]
    may_merge: bool = False


def judge(pull_request: PullRequest, user: Any, checks: list[Check]) -> Verdict:
    """What stands between this proposal and `main`, in the order of urgency."""
    status = pull_request.discussion.status
    if status == Discussion.Status.MERGED:
        by = f" by {pull_request.merged_by}" if pull_request.merged_by else ""
        unreviewed = ["Nobody else could review it: this hub had one person."] if pull_request.merged_unreviewed else []
        return Verdict("info", "merged", f"Merged into {pull_request.target}{by}", unreviewed)
    if status == Discussion.Status.CLOSED:
        return Verdict("info", "cancelled", "Closed without merging", [])
    # To somebody who cannot merge, what counts is what a maintainer would meet.
    judge_as = user if can(user, "write", pull_request.discussion.repo) else AnonymousUser()
    reasons = community.unmet_requirements(pull_request, judge_as)
    blocking = [reason for reason in reasons if reason != NEEDS_WRITE]
    if not blocking:
        if reasons:
            return Verdict("good", "passed", "Ready: a maintainer can merge it", [])
        return Verdict("good", "passed", "Ready to merge", [], may_merge=True)
    if any(check.state == Check.State.FAILED and check.is_required for check in checks) or pull_request.conflict_paths:
        return Verdict("danger", "failed", "Cannot be merged as it is", blocking)
    if any(check.state == Check.State.RUNNING for check in checks):
        return Verdict("info", "running", "Checks are running", blocking)
    if blocking == [community.NEEDS_APPROVAL]:
        return Verdict("good", "passed", "Ready for review", blocking)
    return Verdict("warn", "held", "Not ready to merge yet", blocking)


def choose_pace(pull_request: PullRequest, checks: list[Check]) -> int:
    """After how many seconds the page looks again by itself: soon while something runs, later while it waits for a
    worker or a person (who presses "run" or reviews elsewhere; short runs are seen, too), never (0) when the proposal
    is over."""
    if pull_request.discussion.status not in (Discussion.Status.OPEN, Discussion.Status.DRAFT):
        return 0
    return 2 if any(check.state == Check.State.RUNNING for check in checks) else 4


def describe_state(request: HttpRequest, pull_request: PullRequest) -> dict[str, Any]:
    """What the polled part of the page shows."""
    checks = told_checks(pull_request, request.user)
    verdict = judge(pull_request, request.user, checks)
    repo, user = pull_request.discussion.repo, request.user
    needs_person = community.NEEDS_APPROVAL in verdict.reasons and can(user, "admin", repo)
    return {
        "repo": repo,
        "is_alone": needs_person and not has_other_writer(pull_request, user),  # type: ignore[arg-type]
        "discussion": pull_request.discussion,
        "pull_request": pull_request,
        "checks": checks,
        "verdict": verdict,
        "may_write": can(request.user, "write", pull_request.discussion.repo),
        "pace_s": choose_pace(pull_request, checks),
    }


@dataclass(frozen=True)
class GivenReview:
    review: Review
    is_stale: bool


def describe_reviews(request: HttpRequest, pull_request: PullRequest) -> dict[str, Any]:
    """What others said about the candidate, and whether this person may approve it."""
    rows = pull_request.reviews.select_related("by").order_by("id")
    for row in rows:
        row.pull_request = pull_request  # the same object: is_stale compares with its candidate
    return {
        "reviews": [GivenReview(row, is_stale(row)) for row in rows],
        "may_approve": may_approve(request.user, pull_request),
    }


def may_approve(user: Any, pull_request: PullRequest) -> bool:
    return can(user, "review", pull_request.discussion.repo) and user.pk not in people_behind(pull_request)
