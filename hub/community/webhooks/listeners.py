"""What happens in the rooms below, noted as facts and queued by name. Nothing is sent and nothing is decided here.

Facts are keys and commit ids: what a payload says of them is looked up when it is sent, for just the person it goes to.
`was_private` is how the repository stood at that moment: what happened in private stays among its members."""

from typing import Any

from django.dispatch import receiver

from hub.common.jobs import enqueue
from hub.community.events import (
    comment_added,
    comment_changed,
    discussion_changed,
    discussion_opened,
    pull_request_updated,
)
from hub.community.models import Discussion, Event, PullRequest
from hub.community.webhooks.payloads import describe_repo, may_hear_of
from hub.community.webhooks.watchers import has_watchers, watching
from hub.repos.events import (
    branch_moved,
    public_half_moved,
    repo_changed,
    repo_created,
    repo_deleting,
    repo_moved,
    repo_restored,
)
from hub.repos.models import Repo
from hub.repos.publication import SHOWN_PREFIXES

MAX_REFS = 100  # told of at once


def announce(repo: Repo, scope: str, action: str, **facts: Any) -> None:
    """Queue the event if anybody watches: most repositories nobody does."""
    domain = scope.partition(".")[0]
    if not has_watchers(repo, domain, former=facts.get("former")):
        return
    facts |= {"scope": scope, "action": action, "repo": repo.pk, "was_private": repo.is_private}
    enqueue("webhooks.announce", subject=f"repo:{repo.pk}", event=facts)


@receiver(repo_created)
@receiver(repo_restored)  # its end was told, too
def tell_of_repo(sender: type, repo: Repo, **_: Any) -> None:
    announce(repo, "repo", "create")


@receiver(repo_moved)
def tell_of_move(sender: type, repo: Repo, former: dict[str, Any], **_: Any) -> None:
    announce(repo, "repo", "move", former=former)


@receiver(repo_changed)
def tell_of_settings(sender: type, repo: Repo, changes: list[str], **_: Any) -> None:
    announce(repo, "repo.config", "update", changes=changes)


@receiver(repo_deleting)
def tell_of_end(sender: type, repo: Repo, **_: Any) -> None:
    """Afterwards nobody can say any more who was allowed to read it, so that is settled here, and its last description."""
    webhooks = [hook for hook in watching(repo, "repo") if may_hear_of(repo, hook.owner)]
    if webhooks:
        facts = {"scope": "repo", "action": "delete", "last": describe_repo(repo, None)}
        enqueue("webhooks.announce", event=facts | {"webhooks": [hook.pk for hook in webhooks]})


@receiver(branch_moved)
def tell_members_of_commits(sender: type, repo: Repo, ref: str, old: str | None, new: str | None, **_: Any) -> None:
    """Members hear of commits as they arrive, others when they become public."""
    if ref.startswith(SHOWN_PREFIXES) and old != new:
        announce(repo, "repo.content", "update", audience="members", refs=[[ref, old, new]])


@receiver(public_half_moved)
def tell_others_of_commits(sender: type, repo: Repo, moves: list[tuple[str, str | None, str | None]], **_: Any) -> None:
    announce(repo, "repo.content", "update", audience="public", refs=[list(move) for move in moves[:MAX_REFS]])


@receiver(discussion_opened)
def tell_of_discussion(sender: type, discussion: Discussion, **_: Any) -> None:
    first = discussion.events.filter(kind="comment").first()
    announce(discussion.repo, "discussion", "create", discussion=discussion.pk, comment=first.pk if first else None)


@receiver(pull_request_updated)
def tell_of_pull_request(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    """A draft without commits is told of when its first commit arrives. New commits are changes of its reference."""
    if reason == "opened":
        tell_of_discussion(Discussion, pull_request.discussion)
    elif reason == "merged":
        announce(pull_request.discussion.repo, "discussion", "update", discussion=pull_request.discussion.pk)


@receiver(discussion_changed)
def tell_of_change(sender: type, discussion: Discussion, **_: Any) -> None:
    announce(discussion.repo, "discussion", "update", discussion=discussion.pk)


@receiver(comment_added)
def tell_of_comment(sender: type, event: Event, **_: Any) -> None:
    tell_of_words(event, "create")


@receiver(comment_changed)
def tell_of_changed_comment(sender: type, event: Event, **_: Any) -> None:
    tell_of_words(event, "update")


def tell_of_words(event: Event, action: str) -> None:
    discussion = event.discussion
    announce(discussion.repo, "discussion.comment", action, discussion=discussion.pk, comment=event.pk)
