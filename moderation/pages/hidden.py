"""For members: what of their repository strangers do not see, and making its history clean."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from moderation.panels import with_cases
from moderation.screening.hidden import clean_history, find_hidden, why_not_clean

SHOWN = 200


@repo_page(action="read_members")
def show_hidden(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """GET: the files and commits. POST: make the history clean; a refusal is told on the page."""
    problem, status = "", 200
    if request.method == "POST":
        require_sign_in(request)
        try:
            clean_history(repo=repo, by=request.user)
        except HubError as refusal:
            problem, status = refusal.message, refusal.status
        else:
            messages.success(request, "The history is clean. What is cleared is public now.")
            return HttpResponseRedirect(f"{repo.path}/tree/{repo.default_branch}")
        repo.refresh_from_db()
    hidden = find_hidden(repo)
    why_not = why_not_clean(repo, hidden)
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/hidden.html",
        tab="none",
        status=status,
        hidden=hidden,
        rows=with_cases(hidden.held[:SHOWN]),
        why_not=why_not,
        may_clean=not why_not and can(request.user, "admin", repo),
        may_purge=can(request.user, "admin", repo),
        problem=problem,
    )
