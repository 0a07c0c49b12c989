"""Gated repositories on pages: the form that asks for access, and the list of those who asked."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_http_methods, require_POST

from hub.common.errors import HubError
from hub.repos import gating
from hub.repos.access_models import AccessRequest
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in

SHOWN = 100  # of each state
STATES = [
    ("pending", "Waiting", "Nobody waits. Who asks for access on the repository's page appears here."),
    ("accepted", "Accepted", "Nobody was let in yet."),
    ("rejected", "Rejected", "Nobody was rejected."),
]


@require_POST
@repo_page()
def ask(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    person = require_sign_in(request)
    try:
        made = gating.ask_for_access(repo=repo, by=person, answers=read_answers(request, repo))
    except HubError as problem:
        messages.error(request, problem.message)
    else:
        is_in = made.status == AccessRequest.Status.ACCEPTED
        said = "You have access now." if is_in else "Your request waits; you are told when it is decided."
        messages.success(request, said)
    return HttpResponseRedirect(repo.path)


def read_answers(request: HttpRequest, repo: Repo) -> dict[str, Any]:
    """The form names its fields shortly, the card by question."""
    questions = gating.read_gate(repo.card).questions
    return {row.label: given(request, row) for row in questions}


def given(request: HttpRequest, question: gating.Question) -> Any:
    return question.name in request.POST if question.kind == "checkbox" else request.POST.get(question.name, "")


@require_http_methods(["GET", "HEAD", "POST"])
@repo_page(action="write")
def show_requests(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    gating.require_gate(repo)
    if request.method == "POST":
        try:
            messages.success(request, decide(request, repo))
        except HubError as problem:
            messages.error(request, problem.message)
        return HttpResponseRedirect(f"{repo.path}/settings/access")
    groups = [describe_group(request, repo, *state) for state in STATES]
    return render_repo_page(request, repo, reader, "repos/access.html", tab="/settings", groups=groups)


def decide(request: HttpRequest, repo: Repo) -> str:
    """Do what the form says and return what was done."""
    by = require_sign_in(request)
    if name := request.POST.get("username", "").strip():
        person = gating.find_person(name)
        gating.grant_access(repo=repo, by=by, user=person)
        return f"{person} has access now."
    found = gating.find_request(repo, key=request.POST.get("request", ""))
    reason, status = request.POST.get("reason", "").strip(), request.POST.get("status", "")
    gating.decide(repo=repo, by=by, request=found, status=status, reason=reason)
    return f"The request of {found.user} is {status} now."


def describe_group(request: HttpRequest, repo: Repo, status: str, title: str, empty: str) -> dict[str, Any]:
    rows = gating.list_requests(repo=repo, by=request.user, status=status)
    return {"status": status, "title": title, "empty": empty, "count": rows.count(), "rows": list(rows[:SHOWN])}
