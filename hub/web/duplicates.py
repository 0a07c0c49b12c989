"""A copy of a repository under a name of one's own: asked for on a page, made within the request."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import HubError
from hub.repos.duplicates import duplicate_repo
from hub.repos.lifecycle import owner_for
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.web.forms import CopyForm
from hub.web.repo_pages import repo_page, require_sign_in
from hub.web.repos import list_owners


@repo_page()
def copy_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    require(request.user, "read_files", repo)
    owners = list_owners(request.user)
    form = CopyForm(request.POST or None, owners=owners, source=repo)
    if request.method == "POST" and form.is_valid():
        try:
            made = make_copy(repo, request.user, form.cleaned_data)
        except (HubError, StorageError) as problem:
            form.add_error("name", str(problem))
        else:
            messages.success(request, f"{made.full_name} holds the files and the history of {repo.full_name}.")
            return HttpResponseRedirect(made.path)
    context = {"form": form, "repo": repo, "kind": repo.get_type_display().lower()}
    return render(request, "repos/copy.html", context, status=400 if form.is_bound else 200)


def make_copy(source: Repo, by: User, data: dict[str, Any]) -> Repo:
    owner = owner_for(data["owner"], by)
    require(by, "create_repo", owner)
    is_private = data["visibility"] == "private"
    return duplicate_repo(source=source, by=by, name=data["name"], owner=owner, is_private=is_private)
