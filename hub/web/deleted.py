"""Deleted repositories in somebody's settings: what they are, when they will be gone, and the way back."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from hub.common.errors import Conflict, HubError
from hub.repos.deleted import GRACE, ends_at, find_deleted, list_deleted, remove_repo, restore_repo
from hub.web.repo_pages import require_browser

PAGE = "/settings/deleted"


def show_deleted(request: HttpRequest) -> HttpResponse:
    """`?taken=KEY`: the one whose name somebody has by now; its row asks for another."""
    user = require_browser(request)
    context = {
        "part": "deleted",
        "rows": [{"repo": repo, "ends_at": ends_at(repo)} for repo in list_deleted(user)],
        "taken": request.GET.get("taken", ""),
        "days": GRACE.days,
    }
    return render(request, "accounts/settings_deleted.html", context)


@require_POST
def bring_back(request: HttpRequest, key: str) -> HttpResponse:
    user = require_browser(request)
    repo = find_deleted(key, user)
    try:
        back = restore_repo(repo=repo, by=user, name=request.POST.get("name", "").strip())
    except Conflict as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(f"{PAGE}?taken={repo.key}#{repo.key}")
    except HubError as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(PAGE)
    messages.success(request, f"{back.full_name} is back, as it was.")
    return HttpResponseRedirect(back.path)


@require_POST
def remove(request: HttpRequest, key: str) -> HttpResponse:
    user = require_browser(request)
    repo = find_deleted(key, user)
    if request.POST.get("typed_name", "").strip() != repo.full_name:
        messages.error(request, f"Nothing was removed: type {repo.full_name} to confirm.")
        return HttpResponseRedirect(f"{PAGE}#{repo.key}")
    remove_repo(repo=repo, by=user)
    messages.success(request, f"{repo.full_name} is gone for good.")
    return HttpResponseRedirect(PAGE)
