"""What a webhook is told of an event: made for one person at one moment, of what this person may read then.

The words are those that `huggingface_hub.WebhookPayload` reads (version 3)."""

from typing import Any

from django.conf import settings

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.community.discussions import may_see
from hub.community.models import Discussion, Event, PullRequest
from hub.community.webhooks.models import Webhook
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import UnknownRevision
from hub.storage.git import GitRepo

VERSION = 3
NOBODY = "deleted"  # the id of an author whose account is gone


class Untold(Exception):
    """The person may not hear of this, or there is nothing left to tell. The sentence tells no more than that."""

    def __init__(self) -> None:
        super().__init__("What it spoke of is gone, or you may not read it any more.")


def find_repo_of(event: dict[str, Any]) -> Repo | None:
    """None when it is deleted."""
    return find_repos_of([event]).get(event.get("repo", 0))


def find_repos_of(events: list[dict[str, Any]]) -> dict[int, Repo]:
    keys = {event["repo"] for event in events if "repo" in event}
    return Repo.objects.for_listing().prefetch_related("collaborators").in_bulk(keys)


def may_hear_of(repo: Repo, reader: User, *, was_private: bool = False) -> bool:
    """`was_private`: what happened while it was private is told to its members only, whatever it is now."""
    return can(reader, "read", repo) and (not was_private or can(reader, "read_members", repo))


def make_payload(event: dict[str, Any], webhook: Webhook, repo: Repo | None) -> dict[str, Any]:
    """Raises Untold. `event` are facts as listeners.py notes them, `repo` what `find_repo_of` found."""
    reader = webhook.owner
    told: dict[str, Any] = {
        "event": {"action": event["action"], "scope": event["scope"]},
        "webhook": {"id": webhook.key, "version": VERSION},
    }
    if "last" in event:
        if webhook.pk not in event["webhooks"]:
            raise Untold
        return told | {"repo": with_addresses(event["last"])}
    if repo is None or not may_hear_of(repo, reader, was_private=event["was_private"]):
        raise Untold
    told["repo"] = with_addresses(describe_repo(repo, reader))
    if "refs" in event:
        told["updatedRefs"] = describe_refs(event, repo, reader)
    if event.get("former"):
        told["movedTo"] = {"name": repo.full_name, "owner": {"id": str(repo.owner.pk)}}
        told["repo"]["name"] = event["former"]["name"]
    if "private" in event.get("changes", ()):
        told["updatedConfig"] = {"private": repo.is_private}
    if event.get("discussion"):
        told |= describe_talk(event, repo, reader)
    return told


def address(path: str) -> str:
    """Absolute where the hub knows its address (PUBLIC_URL, which `up` sets for jobs)."""
    return settings.PUBLIC_URL + path


def with_addresses(described: dict[str, Any]) -> dict[str, Any]:
    return described | {"url": {name: address(path) for name, path in described["url"].items()}}


def describe_repo(repo: Repo, reader: User | None) -> dict[str, Any]:
    """With paths for addresses. Without a reader (it is being deleted) no commit is named: members and others hear the same."""
    described: dict[str, Any] = {
        "id": repo.key,
        "type": repo.type,
        "name": repo.full_name,
        "owner": {"id": str(repo.owner.pk)},
        "private": repo.is_private,
        "url": {"web": repo.path, "api": f"/api/{repo.type}s/{repo.full_name}"},
    }
    if reader is not None:
        head = repo.head if can(reader, "read_members", repo) else repo.public_head
        described |= {"tags": list(repo.tags), "headSha": head or None, "head_sha": head or None}
    return described


def describe_refs(event: dict[str, Any], repo: Repo, reader: User) -> list[dict[str, Any]]:
    """Members hear of their half and others of the public one; of a commit that left it again since, nobody else does."""
    is_member = can(reader, "read_members", repo)
    if is_member != (event["audience"] == "members"):
        raise Untold
    public = pair(repo).public
    told = []
    for ref, old, new in event["refs"]:
        if not is_member:
            is_gone = new is None
            old, new = shown_commit(public, old), shown_commit(public, new)
            if new is None and not is_gone:
                continue
        told.append({"ref": ref, "oldSha": old, "newSha": new})
    if not told:
        raise Untold
    return told


def shown_commit(public: GitRepo, oid: str | None) -> str | None:
    """The commit, or the one that an annotated tag names; None when the public half does not hold it."""
    try:
        return public.peel(oid) if oid is not None else None
    except UnknownRevision:
        return None


def describe_talk(event: dict[str, Any], repo: Repo, reader: User) -> dict[str, Any]:
    discussion = Discussion.objects.select_related("repo", "author").filter(pk=event["discussion"], repo=repo).first()
    if discussion is None or not may_see(discussion, reader):
        raise Untold
    web = address(discussion.path)
    api = address(f"/api/{repo.type}s/{repo.full_name}/discussions/{discussion.number}")
    described: dict[str, Any] = {
        "id": str(discussion.pk),
        "num": discussion.number,
        "title": discussion.title,
        "status": discussion.status,
        "isPullRequest": discussion.is_pull_request,
        "pinned": False,
        "author": {"id": id_of(discussion.author_id)},
        "url": {"web": web, "api": api},
    }
    if discussion.is_pull_request and (changes := describe_changes(discussion.pull_request, repo, reader)):
        described["changes"] = changes
    told: dict[str, Any] = {"discussion": described}
    if event.get("comment"):
        comment = discussion.events.filter(pk=event["comment"], kind="comment").first()
        if comment is None:
            raise Untold
        told["comment"] = describe_comment(comment, web)
    return told


def describe_changes(pull_request: PullRequest, repo: Repo, reader: User) -> dict[str, Any]:
    """Branch and commit are named to those who see them: to others once they are public."""
    is_member, public = can(reader, "read_members", repo), pair(repo).public
    base = f"refs/heads/{pull_request.target}"
    if not is_member and public.read_ref(base) is None:
        return {}
    merged = pull_request.merge_commit if pull_request.merged_at else ""
    if merged and (is_member or public.has_commit(merged)):
        return {"base": base, "mergeCommitId": merged}
    return {"base": base}


def describe_comment(comment: Event, discussion_url: str) -> dict[str, Any]:
    is_hidden = bool(comment.data.get("hidden"))
    told: dict[str, Any] = {
        "id": str(comment.pk),
        "author": {"id": id_of(comment.author_id)},
        "hidden": is_hidden,
        "url": {"web": f"{discussion_url}#event-{comment.pk}"},
    }
    if not is_hidden:
        told["content"] = comment.data.get("text", "")
    return told


def id_of(key: int | None) -> str:
    return str(key) if key is not None else NOBODY
