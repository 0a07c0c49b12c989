"""Changing one text file in the browser: edit, create, delete. Each is a commit or becomes a proposal."""

import posixpath
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput, StaleCommit
from hub.community import contributions
from hub.community.pull_requests import check_accepts_push
from hub.repos.largeness import is_text
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.git import AddFile, DeleteFile
from hub.web.files import Place, find_place
from hub.web.forms import CommitForm, EditForm
from hub.web.repo_pages import render_repo_page, repo_page

PROPOSALS = "refs/pr/"


def commit_from_browser(
    *, repo: Repo, request: HttpRequest, branch: str, operations: list[Any], data: dict[str, Any], usual_title: str,
    parent: str | None = None,
) -> str:  # fmt: skip
    """Commit, or open a proposal, as the form says; returns the address to go to."""
    made = contributions.commit(
        repo=repo,
        by=request.user,
        revision=branch,
        operations=operations,
        title=data["title"].strip() or usual_title,
        description=data["description"],
        expected_parent=parent,
        create_pr=data["goes_to"] == "proposal",
        door="web",
    )
    if made.pull_request is not None:
        return made.pull_request.discussion.path
    return f"{repo.path}/tree/{branch}"


def form_options(request: HttpRequest, repo: Repo, branch: str) -> dict[str, Any]:
    if branch.startswith(PROPOSALS):  # it goes into this proposal
        return {"branch": "this proposal", "may_write": True, "may_propose": False}
    return {
        "branch": branch,
        "may_write": can(request.user, "write", repo) and not (repo.is_policy and branch == repo.default_branch),
        "may_propose": can(request.user, "propose", repo),
    }


def find_branch_place(repo: Repo, reader: RepoReader, rest: str) -> Place:
    place = find_place(repo, reader, rest)
    if f"refs/heads/{place.revision}" not in reader.refs():
        raise InvalidInput(f"{place.revision!r} is no branch; choose a branch to change files on it.")
    return place


def find_editable_place(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> Place:
    """On a branch, or in a proposal (refs/pr/N) that this person may add to."""
    if not rest.startswith(PROPOSALS):
        return find_branch_place(repo, reader, rest)
    place = find_place(repo, reader, rest)
    by: Any = request.user
    check_accepts_push(contributions.find_by_ref(repo, place.revision, by), by)
    return place


@repo_page(action="propose")
def edit_file(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    place = find_editable_place(request, repo, reader, rest)
    entry = reader.entry(place.commit, place.path)
    if entry.lfs is not None:
        raise InvalidInput(f"{place.path} is a large or binary file; upload a new version of it instead.")
    content = reader.read_bytes(place.commit, place.path)
    if not is_text(content):
        raise InvalidInput(f"{place.path} is no UTF-8 text; upload a new version of it instead.")
    initial = {"path": place.path, "content": content.decode(), "parent": place.commit}
    return show_editor(request, repo, reader, place, initial, f"Update {posixpath.basename(place.path)}")


@repo_page(action="propose")
def new_file(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    place = find_branch_place(repo, reader, rest)
    name = request.GET.get("name", "")[:200]
    path = f"{place.path}/{name}" if place.path else name
    return show_editor(request, repo, reader, place, {"path": path, "parent": place.commit}, "Add a file")


def show_editor(
    request: HttpRequest, repo: Repo, reader: RepoReader, place: Place, initial: dict[str, str], usual_title: str
) -> HttpResponse:
    form = EditForm(request.POST or None, initial=initial, **form_options(request, repo, place.revision))
    if request.method == "POST" and form.is_valid():
        try:
            return HttpResponseRedirect(save_edit(request, repo, reader, place, form.cleaned_data, usual_title))
        except StaleCommit:
            form.add_error(
                None,
                f"{place.revision} has changed since you opened this page. Your text is still below: open the file in "
                "another tab, take over what is new, and save again.",
            )
            # The next save states the head that was just pointed to.
            form.data = {**request.POST.dict(), "parent": place.commit}
        except HubError as problem:
            form.add_error(None, problem.message)
    return render_repo_page(
        request,
        repo,
        reader,
        "files/edit.html",
        tab="/tree",
        place=place,
        form=form,
        usual_title=usual_title,
        is_new="content" not in initial,
        status=400 if form.is_bound else 200,
    )


def save_edit(
    request: HttpRequest, repo: Repo, reader: RepoReader, place: Place, data: dict[str, Any], usual_title: str
) -> str:
    """Browsers send CRLF line ends; git and every tool here want LF."""
    path = data["path"].strip().strip("/")
    text = data["content"].replace("\r\n", "\n")
    if text and not text.endswith("\n"):
        text += "\n"
    operations: list[Any] = [AddFile(path, text.encode())]
    is_edit = "edit" in request.path.split("/")
    if is_edit and path != place.path:
        operations.append(DeleteFile(place.path))  # a new name: the old file goes
    title = usual_title if path == place.path else f"Add {posixpath.basename(path)}"
    return commit_from_browser(
        repo=repo, request=request, branch=place.revision, operations=operations, data=data, usual_title=title,
        parent=data["parent"] or None,
    )  # fmt: skip


@repo_page(action="propose")
def delete_file(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    place = find_branch_place(repo, reader, rest)
    entry = reader.entry(place.commit, place.path)
    form = CommitForm(request.POST or None, **form_options(request, repo, place.revision))
    if request.method == "POST" and form.is_valid():
        try:
            address = commit_from_browser(
                repo=repo, request=request, branch=place.revision, operations=[DeleteFile(entry.path)],
                data=form.cleaned_data, usual_title=f"Delete {posixpath.basename(entry.path)}",
            )  # fmt: skip
            return HttpResponseRedirect(address)
        except HubError as problem:
            form.add_error(None, problem.message)
    return render_repo_page(
        request, repo, reader, "files/delete.html", tab="/tree", place=place, entry=entry, form=form,
        status=400 if form.is_bound else 200,
    )  # fmt: skip
