"""Discussions: anybody who may read may open one. A pull request is a discussion with commits (pull_requests.py)."""

from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common.errors import Forbidden, InvalidInput, NotFound
from hub.common.paging import read_number
from hub.community.events import (
    comment_added,
    comment_changed,
    discussion_changed,
    discussion_opened,
    pull_request_updated,
)
from hub.community.models import Discussion, Event, PullRequest
from hub.repos.models import Repo

MAX_COMMENT_CHARACTERS = 65_536
MIN_TITLE, MAX_TITLE = 3, 300


def check_title(title: str) -> str:
    title = " ".join(plain_text(title).split())
    if not MIN_TITLE <= len(title) <= MAX_TITLE:
        raise InvalidInput(f"A title has {MIN_TITLE} to {MAX_TITLE} characters; this one has {len(title)}.")
    return title


def check_comment(text: str) -> str:
    text = plain_text(text)
    if not text.strip():
        raise InvalidInput("The comment is empty; write something.")
    if len(text) > MAX_COMMENT_CHARACTERS:
        raise InvalidInput(f"A comment has at most {MAX_COMMENT_CHARACTERS:,} characters; attach the rest as a file.")
    return text


def plain_text(text: str) -> str:
    """Without what no database keeps: NUL and halves of characters."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def take_number(repo: Repo) -> int:
    """The next number of the repository's one sequence; call inside a transaction."""
    row = Repo.objects.select_for_update().get(pk=repo.pk)
    Repo.objects.filter(pk=repo.pk).update(next_number=F("next_number") + 1)
    return row.next_number


@transaction.atomic
def create_discussion(*, repo: Repo, by: User, title: str, text: str = "", is_private: bool = False) -> Discussion:
    require(by, "discuss", repo)
    discussion = Discussion.objects.create(
        repo=repo, number=take_number(repo), title=check_title(title), author=by, is_private=is_private
    )
    if text.strip():
        add_event(discussion, "comment", by, text=check_comment(text))
    discussion_opened.send(Discussion, discussion=discussion)
    return discussion


def find_discussion(repo: Repo, number: int, user: Any) -> Discussion:
    """Raises NotFound, also for a private one that is not the reader's."""
    rows = Discussion.objects.select_related("author", "repo").filter(repo=repo, number=number)
    discussion = rows.first()
    if discussion is None or not may_see(discussion, user):
        raise NotFound(f"There is no discussion {number} in {repo.full_name}.")
    return discussion


def may_see(discussion: Discussion, user: Any) -> bool:
    if not discussion.is_private:
        return True
    return (
        can(user, "moderate") or can(user, "write", discussion.repo) or discussion.author_id == getattr(user, "pk", 0)
    )


def visible_discussions(repo: Repo, user: Any) -> Any:
    """QuerySet of what `user` may see, newest first."""
    rows = Discussion.objects.filter(repo=repo).select_related("author")
    if not (can(user, "moderate") or can(user, "write", repo)):
        mine = Q(author_id=user.pk) if user.is_authenticated else Q(pk__in=[])
        rows = rows.filter(Q(is_private=False) | mine)
    return rows.order_by("-created_at", "-id")


def add_event(discussion: Discussion, kind: str, by: User | None, **data: Any) -> Event:
    """Append to the timeline; the one place where entries are made."""
    event = Event.objects.create(discussion=discussion, kind=kind, author=by, data=data, at=timezone.now())
    Discussion.objects.filter(pk=discussion.pk).update(updated_at=event.at)
    return event


def comment(*, discussion: Discussion, by: User, text: str) -> Event:
    require(by, "discuss", discussion.repo)
    if not may_see(discussion, by):
        raise NotFound(f"There is no discussion {discussion.number} in {discussion.repo.full_name}.")
    event = add_event(discussion, "comment", by, text=check_comment(text))
    comment_added.send(Event, event=event)
    return event


def own_comment(discussion: Discussion, event_id: str, by: User) -> Event:
    event = discussion.events.filter(kind="comment", pk=read_number(event_id) or 0).first()
    if event is None:
        raise NotFound(f"There is no comment {event_id} in this discussion.")
    if event.author_id != by.pk and not can(by, "write", discussion.repo) and not can(by, "moderate"):
        raise Forbidden("Only its author, a maintainer or a moderator may change this comment.")
    return event


def edit_comment(*, discussion: Discussion, event_id: str, by: User, text: str) -> Event:
    require(by, "discuss", discussion.repo)
    event = own_comment(discussion, event_id, by)
    if event.author_id != by.pk:
        raise Forbidden("Only its author may change the words of a comment; a maintainer may hide it.")
    if event.data.get("hidden"):
        raise Forbidden("A hidden comment cannot be edited.")
    event.data = {**event.data, "text": check_comment(text)}
    event.edited_at = timezone.now()
    event.save(update_fields=["data", "edited_at"])
    comment_changed.send(Event, event=event)
    return event


def hide_comment(*, discussion: Discussion, event_id: str, by: User) -> Event:
    """Hiding is for good: the words stay for moderators only."""
    require(by, "discuss", discussion.repo)
    event = own_comment(discussion, event_id, by)
    event.data = {**event.data, "hidden": True, "hidden_by": by.username}
    event.save(update_fields=["data"])
    comment_changed.send(Event, event=event)
    return event


@transaction.atomic
def rename(*, discussion: Discussion, by: User, title: str) -> Event:
    require_author_or_writer(discussion, by)
    old, discussion.title = discussion.title, check_title(title)
    discussion.save(update_fields=["title"])
    event = add_event(discussion, "title-change", by, **{"from": old, "to": discussion.title})
    discussion_changed.send(Discussion, discussion=discussion)
    return event


@transaction.atomic
def set_status(*, discussion: Discussion, by: User, status: str, text: str = "") -> Event:
    """Open or close. Merging is pull_requests.merge."""
    if not may_settle(discussion, by):
        require_author_or_writer(discussion, by)
    if status not in ("open", "closed"):
        raise InvalidInput(f"A discussion can be opened or closed, not set to {status!r}.")
    row = Discussion.objects.select_for_update().get(pk=discussion.pk)
    if row.status == Discussion.Status.MERGED:
        raise InvalidInput("This pull request is merged; open a new one to change the repository again.")
    if row.status == status:
        raise InvalidInput(f"This discussion is {status} already.")
    if text.strip():
        add_event(row, "comment", by, text=check_comment(text))
    row.status = discussion.status = status
    row.save(update_fields=["status"])
    event = add_event(row, "status-change", by, status=status)
    if row.is_pull_request:
        reason = "closed" if status == "closed" else "reopened"
        pull_request_updated.send(PullRequest, pull_request=row.pull_request, reason=reason)
    discussion_changed.send(Discussion, discussion=row)
    return event


def require_author_or_writer(discussion: Discussion, by: User) -> None:
    require(by, "discuss", discussion.repo)
    if discussion.author_id != by.pk and not can(by, "write", discussion.repo):
        raise Forbidden("Only the author or somebody with write access may do this here.")


def may_settle(discussion: Discussion, user: Any) -> bool:
    """Whether an entry of a leaderboard is contested in it, which moderators close and open, too."""
    return can(user, "moderate") and can(user, "discuss", discussion.repo) and hasattr(discussion, "dispute")
