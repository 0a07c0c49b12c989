"""Reactions of this room to what happens below and inside it."""

from typing import Any

from django.dispatch import receiver

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.community.candidates import build_candidate
from hub.community.discussions import may_see
from hub.community.events import check_failed, comment_added, followed, pull_request_updated, review_given
from hub.community.models import Check, Discussion, Event, Notification, PullRequest, Review
from hub.community.pull_requests import target_moved
from hub.community.social_models import Follow
from hub.repos.access_models import AccessRequest
from hub.repos.events import access_asked, access_decided, branch_moved
from hub.repos.models import Repo

MAX_TEXT_CHARACTERS = 300  # of a notification


@receiver(branch_moved)
def rebuild_candidates(sender: type, repo: Repo, ref: str, new: str | None, **_: Any) -> None:
    if ref.startswith("refs/heads/") and new is not None:
        target_moved(repo, ref.removeprefix("refs/heads/"))


def notify(users: list[User | None], text: str, path: str, *, actor: Any = None) -> None:
    """One entry under the bell for each person but the one who did it."""
    keys = {user.pk for user in users if user is not None and user != actor and not user.is_system}
    Notification.objects.bulk_create(
        [Notification(user_id=key, text=text[:MAX_TEXT_CHARACTERS], path=path) for key in keys]
    )


def settle_news(paths: list[str]) -> None:
    """What points there waits for nobody any more: read for everybody who has not looked yet."""
    Notification.objects.filter(path__in=paths, is_read=False).update(is_read=True)


def people_of(discussion: Discussion) -> list[User | None]:
    """Its author, who spoke in it, and the owner of the repository."""
    spoke = User.objects.filter(pk__in=discussion.events.exclude(author=None).values("author"))
    return [discussion.author, discussion.repo.owner_user, *spoke]


def tell_readers(discussion: Discussion, users: list[User | None], text: str, *, actor: Any = None) -> None:
    """`notify` those who may read it now: what was public when they spoke may be private today."""
    repo = Repo.everything.for_listing().prefetch_related("collaborators").get(pk=discussion.repo_id)
    readers = [user for user in users if user is not None and can(user, "read", repo) and may_see(discussion, user)]
    notify([*readers], text, discussion.path, actor=actor)


def owners_of(repo: Repo) -> list[User | None]:
    """Its owner, or those of the organization who may write."""
    owners: list[User | None] = [repo.owner_user]
    if repo.owner_organization is not None:
        owners += User.objects.filter(
            memberships__organization=repo.owner_organization, memberships__role__in=("write", "admin")
        )
    return owners


@receiver(access_asked)
def tell_of_access_request(sender: type, request: AccessRequest, **_: Any) -> None:
    """Only while it waits: a gate that opens by itself would ring all day."""
    repo = request.repo
    if request.status == AccessRequest.Status.PENDING:
        text = f"{request.user} asks for access to {repo.full_name}"
        notify(owners_of(repo), text, f"{repo.path}/settings/access", actor=request.user)


@receiver(access_decided)
def tell_of_access_decision(sender: type, request: AccessRequest, by: User, **_: Any) -> None:
    repo = request.repo
    if not can(request.user, "read", repo):
        return  # it was made private since
    said = {
        "accepted": "You have access to",
        "rejected": "You were refused access to",
        "pending": "Your access ended to",
    }
    text = f"{said[request.status]} {repo.full_name}" + (f": {request.reason}" if request.reason else "")
    notify([request.user], text, repo.path, actor=by)


@receiver(pull_request_updated)
def catch_up_with_target(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    """While it was closed, its target may have moved and nothing was built."""
    if reason == "reopened" and not pull_request.is_trained and pull_request.head != pull_request.base:
        build_candidate(pull_request)


@receiver(pull_request_updated)
def tell_of_pull_request(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    discussion = pull_request.discussion
    if reason == "opened":
        owners = owners_of(discussion.repo)
        text = f"{discussion.author} opened the proposal {discussion}: {discussion.title}"
        tell_readers(discussion, owners, text, actor=discussion.author)
    elif reason in ("merged", "closed"):
        tell_readers(discussion, people_of(discussion), f"{discussion} was {reason}: {discussion.title}")


@receiver(check_failed)
def tell_of_failed_check(sender: type, check: Check, **_: Any) -> None:
    """Its author, who may have left the page long ago. Once while it is unread: each move of the target checks anew."""
    discussion = check.pull_request.discussion
    text = f"{discussion} failed '{check.name}': {check.summary}"[:MAX_TEXT_CHARACTERS]
    known = Notification.objects.filter(user=discussion.author, path=discussion.path, text=text, is_read=False)
    if not known.exists():
        tell_readers(discussion, [discussion.author], text)


@receiver(comment_added)
def tell_of_comment(sender: type, event: Event, **_: Any) -> None:
    discussion = event.discussion
    text = f"{event.author} commented on {discussion}"
    tell_readers(discussion, people_of(discussion), text, actor=event.author)


@receiver(review_given)
def tell_of_review(sender: type, review: Review, **_: Any) -> None:
    discussion = review.pull_request.discussion
    text = f"{review.by} reviewed {discussion}: {review.get_verdict_display().lower()}"
    tell_readers(discussion, [discussion.author], text, actor=review.by)


@receiver(followed)
def tell_of_follower(sender: type, follow: Follow, **_: Any) -> None:
    """A person; an organization counts its followers. Once: who comes and goes tells nobody again."""
    text, path = f"{follow.follower} follows you", f"/{follow.follower}"
    if not Notification.objects.filter(user=follow.person, text=text, path=path).exists():
        notify([follow.person], text, path, actor=follow.follower)
