"""Discussions and pull requests in the words of the stock client."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.models import User
from hub.accounts.people import SYSTEM_NAME
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, read_json, signed_in, text_of, with_repo
from hub.api.hf.times import format_time
from hub.common.errors import HubError, InvalidInput
from hub.common.paging import read_number
from hub.community import discussions as talk
from hub.community import pull_requests as pulls
from hub.community.disclosure import told_events
from hub.community.models import Discussion, Event, PullRequest
from hub.repos.models import Repo
from hub.repos.reader import RepoReader

PAGE = 50
MAX_PAGES = 10_000_000
MAX_EVENTS = 1000
MAX_DIFF_BYTES = 1024 * 1024
# Kinds that the client knows; others come out as plain events with their own type.
TYPES = {"discussion": False, "pull_request": True}


@with_repo()
def list_discussions(request: HttpRequest, repo: Repo) -> HttpResponse:
    """Pages by number, with the count of all: not by Link."""
    rows = talk.visible_discussions(repo, request.user)
    if (kind := request.GET.get("type")) not in (None, "", "all"):
        if kind not in TYPES:
            raise InvalidInput(f"The type {kind!r} does not exist; use discussion, pull_request or all.")
        rows = rows.filter(is_pull_request=TYPES[kind])
    if (status := request.GET.get("status")) not in (None, "", "all"):
        open_states = (Discussion.Status.OPEN, Discussion.Status.DRAFT)
        rows = rows.filter(
            status__in=open_states if status == "open" else (Discussion.Status.CLOSED, Discussion.Status.MERGED)
        )
    if author := request.GET.get("author"):
        rows = rows.filter(author__username__iexact=author)
    page = min(read_number(request.GET.get("p", "0")) or 0, MAX_PAGES)
    start = page * PAGE
    found = list(rows[start : start + PAGE])
    items = [describe_discussion(discussion, repo) for discussion in found]
    return answer(
        {"discussions": items, "count": rows.count(), "start": start, "numClosedDiscussions": count_closed(rows)}
    )


def count_closed(rows: Any) -> int:
    return rows.filter(status__in=(Discussion.Status.CLOSED, Discussion.Status.MERGED)).count()


def describe_author(user: User | str | None) -> dict[str, str]:
    if isinstance(user, str):  # of another hub: no name that an account here could have
        return {"name": user, "fullname": user, "type": "user"}
    return {"name": user.username, "fullname": user.title, "type": "user"} if user else {"name": "deleted"}


def describe_discussion(discussion: Discussion, repo: Repo) -> dict[str, Any]:
    return {
        "num": discussion.number,
        "title": discussion.title,
        "status": discussion.status,
        "isPullRequest": discussion.is_pull_request,
        "createdAt": format_time(discussion.created_at),
        "author": describe_author(discussion.told_author),
        "repo": {"name": repo.full_name, "type": repo.type},
        "pinned": False,
    }


def describe_event(event: Event) -> dict[str, Any]:
    by_hub = event.told_author is None and event.kind != "comment"
    return {
        "id": str(event.pk),
        "type": event.kind,
        "createdAt": format_time(event.at),
        "author": {"name": SYSTEM_NAME} if by_hub else describe_author(event.told_author),
        "data": describe_data(event),
    }


def describe_data(event: Event) -> dict[str, Any]:
    if event.kind != "comment":
        return event.data
    is_hidden = bool(event.data.get("hidden"))
    text = "" if is_hidden else event.data.get("text", "")
    latest = {"raw": text, "html": "", "updatedAt": format_time(event.edited_at or event.at)}
    if event.told_author:
        latest["author"] = describe_author(event.told_author)  # type: ignore[assignment]
    return {
        "edited": event.edited_at is not None,
        "hidden": is_hidden,
        "hiddenBy": event.data.get("hidden_by", ""),
        "latest": latest,
        "history": [],
        "numEdits": int(event.edited_at is not None),
    }


def describe_details(request: HttpRequest, discussion: Discussion, repo: Repo) -> dict[str, Any]:
    events = told_events(discussion, request.user, discussion.events.select_related("author")[:MAX_EVENTS])
    item = describe_discussion(discussion, repo) | {"events": [describe_event(event) for event in events]}
    if discussion.is_pull_request:
        pull_request = discussion.pull_request
        item |= describe_changes(pull_request)
        if flag_of(request.GET.get("diff")):
            item["diff"] = read_diff(open_reader(request, repo), pull_request)
    return item


def describe_changes(pull_request: PullRequest) -> dict[str, Any]:
    changes: dict[str, Any] = {"base": f"refs/heads/{pull_request.target}"}
    if pull_request.merged_at and pull_request.merge_commit:
        changes["mergeCommitId"] = pull_request.merge_commit
    return {"changes": changes, "filesWithConflicts": list(pull_request.conflict_paths)}


def read_diff(reader: RepoReader, pull_request: PullRequest) -> str:
    """The change as text, cut at 1 MiB; empty while this reader may not see it."""
    try:
        base, head = reader.resolve(pull_request.base), reader.resolve(pull_request.ref)
        if base == head:
            return ""
        return reader.diff_text(base, head, MAX_DIFF_BYTES)
    except HubError:
        return ""


@signed_in
@with_repo()
def open_discussion(request: HttpRequest, repo: Repo) -> HttpResponse:
    body = read_json(request)
    title, text = text_of(body, "title"), text_of(body, "description", default="")
    if body.get("pullRequest"):
        made = pulls.open_pull_request(repo=repo, by=request.user, title=title, text=text, is_draft=True).discussion
    else:
        made = talk.create_discussion(repo=repo, by=request.user, title=title, text=text)
    return answer({"num": made.number, "url": made.path, "pullRequest": made.is_pull_request})


@with_repo()
def show_discussion(request: HttpRequest, repo: Repo, *, number: int) -> HttpResponse:
    return answer(describe_details(request, talk.find_discussion(repo, number, request.user), repo))


@signed_in
@with_repo()
def add_comment(request: HttpRequest, repo: Repo, *, number: int) -> HttpResponse:
    discussion = talk.find_discussion(repo, number, request.user)
    event = talk.comment(discussion=discussion, by=request.user, text=text_of(read_json(request), "comment"))
    return answer({"newMessage": describe_event(event)})


@signed_in
@with_repo()
def change_title(request: HttpRequest, repo: Repo, *, number: int) -> HttpResponse:
    discussion = talk.find_discussion(repo, number, request.user)
    event = talk.rename(discussion=discussion, by=request.user, title=text_of(read_json(request), "title"))
    return answer({"newTitle": describe_event(event)})


@signed_in
@with_repo()
def change_status(request: HttpRequest, repo: Repo, *, number: int) -> HttpResponse:
    body = read_json(request)
    discussion = talk.find_discussion(repo, number, request.user)
    comment = text_of(body, "comment", default="")
    event = talk.set_status(discussion=discussion, by=request.user, status=text_of(body, "status"), text=comment)
    return answer({"newStatus": describe_event(event)})


@signed_in
@with_repo()
def merge_pull_request(request: HttpRequest, repo: Repo, *, number: int) -> HttpResponse:
    comment = text_of(read_json(request), "comment", default="")
    pull_request = pulls.find_pull_request(repo, number, request.user)
    pulls.merge(pull_request=pull_request, by=request.user, text=comment)
    return answer({"success": True, "mergeCommitId": pull_request.merge_commit})


@signed_in
@with_repo()
def edit_comment(request: HttpRequest, repo: Repo, *, number: int, comment: str) -> HttpResponse:
    discussion = talk.find_discussion(repo, number, request.user)
    text = text_of(read_json(request), "content")
    event = talk.edit_comment(discussion=discussion, event_id=comment, by=request.user, text=text)
    return answer({"updatedComment": describe_event(event)})


@signed_in
@with_repo()
def hide_comment(request: HttpRequest, repo: Repo, *, number: int, comment: str) -> HttpResponse:
    discussion = talk.find_discussion(repo, number, request.user)
    event = talk.hide_comment(discussion=discussion, event_id=comment, by=request.user)
    return answer({"updatedComment": describe_event(event)})


many = endpoint(GET=list_discussions, POST=open_discussion)
one = endpoint(GET=show_discussion)
comments = endpoint(POST=add_comment)
title = endpoint(POST=change_title)
status = endpoint(POST=change_status)
merge = endpoint(POST=merge_pull_request)
comment_edit = endpoint(POST=edit_comment)
comment_hide = endpoint(POST=hide_comment)
