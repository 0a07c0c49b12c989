"""The Community tab: the list of discussions and proposals, one discussion, and what people do in it."""

from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput, NotFound
from hub.community import discussions as community
from hub.community.models import Discussion, Event
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.forms import DiscussionForm
from hub.web.listings import cut_numbered_page
from hub.web.pull_requests import show_pull_request
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from hub.web.timelines import describe_timeline

PER_PAGE = 25
OPEN = ("open", "draft")
STATES = {"open": OPEN, "closed": ("closed", "merged"), "all": ("open", "draft", "closed", "merged")}
KINDS = {"all": None, "proposals": True, "discussions": False}


@repo_page()
def list_discussions(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    kind = request.GET.get("kind", "all" if "q" in request.GET else "discussions")
    kind = kind if kind in KINDS else "all"
    state = request.GET.get("status", "open")
    state = state if state in STATES else "open"
    words = request.GET.get("q", "").strip()[:200]
    rows = community.visible_discussions(repo, request.user)
    if KINDS[kind] is not None:
        rows = rows.filter(is_pull_request=KINDS[kind])
    if words:
        rows = rows.filter(title__icontains=words)
    counts = count_states(rows)
    return render_repo_page(
        request,
        repo,
        reader,
        "discussions/list.html",
        tab="/proposals" if kind == "proposals" else "/discussions",
        kind=kind,
        state=state,
        words=words,
        list_query=urlencode({"q": words, "kind": kind, "status": state}) + "&",
        counts=counts,
        page=cut_numbered_page(request, rows.filter(status__in=STATES[state]), PER_PAGE),
        may_discuss=can(request.user, "discuss", repo),
    )


def count_states(rows: QuerySet[Discussion]) -> dict[str, int]:
    by_status = {row["status"]: row["count"] for row in rows.order_by().values("status").annotate(count=Count("pk"))}
    return {name: sum(by_status.get(status, 0) for status in statuses) for name, statuses in STATES.items()}


@repo_page()
def show_discussion(request: HttpRequest, repo: Repo, reader: RepoReader, number: int) -> HttpResponse:
    discussion = community.find_discussion(repo, number, request.user)
    if discussion.is_pull_request:
        return show_pull_request(request, repo, reader, discussion)
    return render_repo_page(
        request,
        repo,
        reader,
        "discussions/discussion.html",
        tab="/discussions",
        discussion=discussion,
        **describe_timeline(request, discussion),
    )


@repo_page()
def new_discussion(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    form = DiscussionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = community.create_discussion(
                repo=repo, by=request.user, title=form.cleaned_data["title"], text=form.cleaned_data["text"]
            )
        except InvalidInput as problem:
            form.add_error(None, problem.message)
        else:
            return HttpResponseRedirect(made.path)
    return render_repo_page(
        request,
        repo,
        reader,
        "discussions/new.html",
        tab="/discussions",
        form=form,
        status=400 if form.is_bound else 200,
    )


@require_POST
@repo_page()
def act_on_discussion(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, act: str) -> HttpResponse:
    """Comment, rename, close, reopen. A refusal is told on the page, where the words that were typed still are."""
    require_sign_in(request)
    discussion = community.find_discussion(repo, number, request.user)
    text = request.POST.get("text", "")
    place = ""
    try:
        if act == "comment":
            event = community.comment(discussion=discussion, by=request.user, text=text)
            place = f"#event-{event.pk}"
        elif act == "rename":
            community.rename(discussion=discussion, by=request.user, title=request.POST.get("title", ""))
        elif act in ("close", "reopen"):
            status = "closed" if act == "close" else "open"
            community.set_status(discussion=discussion, by=request.user, status=status, text=text)
        else:
            raise NotFound("There is nothing at this address.")
    except InvalidInput as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(discussion.path + place)


@repo_page()
def edit_comment(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, event_id: int) -> HttpResponse:
    """Change one's comment; a page of its own, so that it works without JavaScript."""
    require_sign_in(request)
    discussion = community.find_discussion(repo, number, request.user)
    event: Event = community.own_comment(discussion, str(event_id), request.user)
    problem = ""
    if request.method == "POST":
        try:
            community.edit_comment(
                discussion=discussion, event_id=str(event_id), by=request.user, text=request.POST.get("text", "")
            )
            return HttpResponseRedirect(f"{discussion.path}#event-{event_id}")
        except InvalidInput as refusal:
            problem = refusal.message
    return render_repo_page(
        request,
        repo,
        reader,
        "discussions/edit_comment.html",
        tab="/proposals" if discussion.is_pull_request else "/discussions",
        discussion=discussion,
        event=event,
        problem=problem,
    )


@require_POST
@repo_page()
def hide_comment(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, event_id: int) -> HttpResponse:
    require_sign_in(request)
    discussion = community.find_discussion(repo, number, request.user)
    try:
        community.hide_comment(discussion=discussion, event_id=str(event_id), by=request.user)
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(discussion.path)
