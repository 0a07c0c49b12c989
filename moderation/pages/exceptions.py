"""Asking two moderators to set the verdict of an evaluation aside: for a proposal, or for what the main branch holds."""

import re

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hub.accounts.permissions import require
from hub.common.errors import HubError, NotFound
from hub.community.discussions import may_see
from hub.community.models import PullRequest
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from moderation import gate
from moderation.cases import exceptions
from moderation.cases.queue import path_of
from training.models import Run


@repo_page()
def ask_exception(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """GET: what speaks against it, and a form where the reader may ask. POST: the case that moderators decide."""
    require_sign_in(request)
    require(request.user, "answer", repo)
    number = (request.POST or request.GET).get("pull_request", "")
    run = find_run(repo, number, request)
    problem, status = "", 200
    if request.method == "POST":
        try:
            case = exceptions.ask(run=run, by=request.user, reason=request.POST.get("reason", ""))
        except HubError as refusal:
            problem, status = refusal.message, refusal.status
        else:
            return HttpResponseRedirect(path_of(case))
    why_not = exceptions.why_not_ask(run, request.user)
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/exception.html",
        tab="none",
        status=status,
        number=number,
        verdicts=[] if why_not or run is None else [exceptions.describe(row) for row in exceptions.list_against(run)],
        why_not=why_not,
        problem=problem,
        reason=request.POST.get("reason", ""),
    )


def find_run(repo: Repo, number: str, request: HttpRequest) -> Run | None:
    """Of a proposal, or of what the main branch holds. Raises NotFound."""
    if not number:
        commit = pair(repo).members.read_ref(f"refs/heads/{repo.default_branch}")
        return gate.find_run(repo, commit) if commit else None
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise NotFound("There is no such proposal.")
    rows = PullRequest.objects.filter(discussion__repo=repo, discussion__number=int(number))
    found = rows.select_related("discussion").first()
    if found is None or not may_see(found.discussion, request.user):
        raise NotFound(f"There is no proposal {number} in {repo.full_name}.")
    return exceptions.run_of(found)
