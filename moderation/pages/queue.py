"""The moderators' queue; who is no moderator sees the cases that concern them."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from hub.accounts.permissions import can
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import require_sign_in
from moderation.cases import queue
from moderation.cases.deadlines import claimer_of
from moderation.cases.queue_order import SORTS, attach_scores, fetch, list_placed
from moderation.cases.reporters import name_opener
from moderation.models import Case
from moderation.pages.bulk import CHOICES
from moderation.pages.cases import SEVERITIES
from moderation.people import maintained_by

PER_PAGE = 50
STATES = {"open": "Open", "waiting": "Waiting for a fix", "decided": "Decided", "all": "All"}
DECIDED = "decided"  # the newest decision first, unless another order is asked for


def list_cases(request: HttpRequest) -> HttpResponse:
    """The most urgent first. Filters, order and selection stand in the address."""
    require_sign_in(request)
    is_moderator = can(request.user, "moderate")
    filters = read_filters(request, is_moderator=is_moderator)
    now = timezone.now()
    page = cut_queue(request, filters, now) if is_moderator else cut_own(request, filters)
    for case in page.object_list:
        case.claimer = claimer_of(case, now) if is_moderator and case.state == Case.State.OPEN else None
        case.opener = case.opened_by if is_moderator else name_opener(case, request.user)
    pairs = {name: value for name, value in filters.items() if value}
    context = {
        "is_moderator": is_moderator,
        "filters": filters,
        "states": STATES.items(),
        "kinds": Case.Kind.choices,
        "sorts": SORTS.items(),
        "page": page,
        "query": f"{urlencode(pairs)}&" if pairs else "",
        "severities": SEVERITIES,
        "choices": CHOICES.items(),
        "may_select": is_moderator and any(case.state == Case.State.OPEN for case in page.object_list),
        "is_selected": request.GET.get("select") == "page",
    }
    return render(request, "moderation/queue.html", context)


def cut_queue(request: HttpRequest, filters: dict[str, str], now: datetime) -> Page[Any]:
    """One page for a moderator, each case with its score."""
    rows = filter_cases(queue.cases_for(request.user), filters)
    if filters["state"] == DECIDED and not filters["sort"]:
        page = cut_numbered_page(request, rows.order_by("-decided_at", "-pk"), PER_PAGE)
        page.object_list = list(page.object_list)
        attach_scores(page.object_list, now)
        return page
    page = cut_numbered_page(request, list_placed(rows, now, filters["sort"] or "urgency"), PER_PAGE)
    page.object_list = fetch(rows, page.object_list)
    return page


def cut_own(request: HttpRequest, filters: dict[str, str]) -> Page[Any]:
    """For everybody else: no scores, since they tell how often somebody's reports were right."""
    rows = filter_cases(own_cases(request.user), filters)
    return cut_numbered_page(
        request, rows.order_by("-decided_at", "-pk") if filters["state"] == DECIDED else rows, PER_PAGE
    )


def own_cases(user: Any) -> QuerySet[Case]:
    """What this person reported, brought or proposed, and all that is about the repositories that they maintain."""
    brought = Q(kind=Case.Kind.CONTENT, content__added_by=user)
    proposed = Q(kind=Case.Kind.OUTPUT, screening__pull_request__discussion__author=user)
    maintained = Q(repo__in=maintained_by(user).values("pk"))
    rows = Case.objects.filter(queue.LIVE, Q(opened_by=user) | brought | proposed | maintained)
    rows = rows.select_related("repo__owner_user", "repo__owner_organization", "opened_by", "decided_by")
    return rows.order_by("-opened_at", "-pk")


def read_filters(request: HttpRequest, *, is_moderator: bool) -> dict[str, str]:
    state = request.GET.get("state", "open" if is_moderator else "all")
    kind, repo = request.GET.get("kind", ""), request.GET.get("repo", "")
    sort = request.GET.get("sort", "")
    return {
        "state": state if state in STATES else "open",
        "kind": kind if kind in Case.Kind.values else "",
        "q": request.GET.get("q", "").replace("\0", "").strip()[:100],
        "repo": repo if re.fullmatch(r"[0-9]{1,18}", repo) else "",  # as a notification of several files says
        "sort": sort if sort in SORTS and is_moderator else "",
    }


def filter_cases(rows: QuerySet[Case], filters: dict[str, str]) -> QuerySet[Case]:
    if filters["state"] == "open":
        rows = rows.filter(state=Case.State.OPEN)
    elif filters["state"] == "waiting":
        rows = rows.filter(state=Case.State.WAITING)
    elif filters["state"] == DECIDED:
        rows = rows.exclude(state__in=(Case.State.OPEN, Case.State.WAITING))
    if filters["kind"]:
        rows = rows.filter(kind=filters["kind"])
    if filters["q"]:
        rows = rows.filter(Q(title__icontains=filters["q"]) | Q(repo__name__icontains=filters["q"]))
    if filters["repo"]:
        rows = rows.filter(repo=int(filters["repo"]))
    return rows
