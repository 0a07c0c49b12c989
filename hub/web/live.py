"""What moves on the page of a proposal: an HTML fragment that htmx polls while something runs, and the same as JSON.

The address of the next poll carries the digest of what is shown; while nothing has changed the answer is an empty 204,
so nothing on the page moves that did not change. When the proposal is merged or closed, the fragment asks no further."""

import hashlib
import re
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe

from hub.accounts.permissions import can
from hub.common.errors import NotFound
from hub.common.paging import read_number
from hub.community.disclosure import told_events
from hub.community.discussions import may_see
from hub.community.models import Check, Discussion, Event, PullRequest
from hub.web.timelines import describe_rights
from hub.web.verdicts import describe_reviews, describe_state

# What is no change: clocks, which tick in the browser, plots that follow their run by themselves, and form tokens.
CLOCKS = re.compile(r"(<time\b[^>]*>).*?(</time>)", re.DOTALL)
LIVE_PLOTS = re.compile(r"<figure\b[^>]*\bdata-live-url=.*?</figure>", re.DOTALL)
FORM_TOKENS = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
MAX_EVENTS = 200  # in one answer
MOVING = (Check.State.RUNNING, Check.State.WAITING)  # without anybody's doing


def find_visible(request: HttpRequest, pk: int) -> PullRequest:
    """The pull request of this discussion key, if this person may see it."""
    rows = PullRequest.objects.select_related("discussion__repo__owner_user", "discussion__repo__owner_organization")
    found = rows.select_related("merged_by", "discussion__author").filter(discussion__id=pk).first()
    if found is None or not (
        can(request.user, "read", found.discussion.repo) and may_see(found.discussion, request.user)
    ):
        raise NotFound("There is no such proposal here.")
    return found


def last_event_id(discussion: Discussion) -> int:
    return discussion.events.order_by("-id").values_list("id", flat=True).first() or 0


def digest_fragment(html: str) -> str:
    """Names what a polled fragment shows: the same as long as nothing has changed that a reader should see move."""
    still = CLOCKS.sub(r"\1\2", LIVE_PLOTS.sub("", FORM_TOKENS.sub("", html)))
    return hashlib.sha256(still.encode()).hexdigest()[:16]


def describe_fragment(request: HttpRequest, pull_request: PullRequest, *, after: int) -> dict[str, Any]:
    """{"html", "digest", "pace_s", "after"}: the drawn state and how to ask for the next. `after` is the id of the newest
    event that the timeline shows: read before, so that one which comes in between is told later, and once."""
    state = describe_state(request, pull_request)
    html = render_to_string("discussions/pull_request_state.html", state, request=request)
    return {
        "html": mark_safe(html),  # noqa: S308  drawn by our own template just above
        "digest": digest_fragment(html),
        "pace_s": state["pace_s"],
        "after": after,
        "pk": pull_request.pk,
        "candidate": pull_request.candidate_digest,
    }


def show_fragment(request: HttpRequest, pk: int) -> HttpResponse:
    """The state of a proposal as HTML; 204 while it is what `?seen=` says. New events come along for the timeline."""
    pull_request = find_visible(request, pk)
    seen = read_number(request.GET.get("after", ""))
    events = new_events(request, pull_request.discussion, seen)
    after = events[-1].pk if events else last_event_id(pull_request.discussion) if seen is None else seen
    fragment = describe_fragment(request, pull_request, after=after)
    # The choice to approve is exchanged only then: one that the reader has made stays as long as it means the same.
    is_new_candidate = request.GET.get("candidate", "") != pull_request.candidate_digest
    is_seen = request.GET.get("seen") == fragment["digest"] and not events and not is_new_candidate
    if is_seen and fragment["pace_s"]:
        return HttpResponse(status=204)
    discussion = pull_request.discussion
    context = {
        "fragment": fragment,
        "events": events,
        "is_late": True,
        "is_new_candidate": is_new_candidate,
        "pull_request": pull_request,
        "discussion": discussion,
        "repo": discussion.repo,
    }
    context |= describe_rights(request, discussion)
    context |= describe_reviews(request, pull_request)
    return HttpResponse(render_to_string("discussions/pull_request_live.html", context, request=request))


def new_events(request: HttpRequest, discussion: Discussion, after: int | None) -> list[Event]:
    if after is None:
        return []
    rows = discussion.events.filter(id__gt=after).select_related("author").order_by("id")[:MAX_EVENTS]
    return told_events(discussion, request.user, rows)


def show_json(request: HttpRequest, pk: int) -> HttpResponse:
    """The same for programs: state, checks, what blocks the merge, and the events after `?after=`."""
    pull_request = find_visible(request, pk)
    state = describe_state(request, pull_request)
    after = read_number(request.GET.get("after", "")) or 0
    events = new_events(request, pull_request.discussion, after)
    return JsonResponse(
        {
            "status": pull_request.discussion.status,
            "verdict": {"title": state["verdict"].title, "reasons": state["verdict"].reasons},
            "is_moving": any(check.state in MOVING for check in state["checks"]),
            "candidate_digest": pull_request.candidate_digest,
            "checks": [describe_check(check) for check in state["checks"]],
            "events": [describe_event(event) for event in events],
            "after": events[-1].pk if events else last_event_id(pull_request.discussion),
        }
    )


def describe_check(check: Any) -> dict[str, Any]:
    return {
        "name": check.name,
        "state": check.state,
        "summary": check.summary,
        "is_required": check.is_required,
        "evidence": check.evidence,
        "started_at": check.started_at,
        "finished_at": check.finished_at,
    }


def describe_event(event: Event) -> dict[str, Any]:
    author = event.author.username if event.author else None
    return {"id": event.pk, "kind": event.kind, "author": author, "at": event.at, "data": event.data}
