"""A repository made of an archive, by a form: docs/portability.md says what an archive is.

With scripts the file is the body itself (static/js/import.js) and goes to the engine as it comes, so that a quota refuses it
before its bytes are taken. Without them it is an ordinary form, and the file waits on the disk of the site until it is whole."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from hub.accounts.models import User
from hub.common.errors import HubError
from hub.community.archives.reading import MAX_ARCHIVE_BYTES, SOON_COMMITS, import_archive
from hub.repos.lifecycle import owner_for
from hub.repos.models import Repo
from hub.storage.errors import StorageError
from hub.web.forms import ImportForm
from hub.web.repo_pages import require_browser
from hub.web.repos import list_owners

PRIVATE = {"": None, "public": False, "private": True}
ARCHIVE = "application/x-tar"


@require_http_methods(["GET", "HEAD", "POST"])
def new_import(request: HttpRequest) -> HttpResponse:
    by = require_browser(request)
    owners = list_owners(by)
    if request.method == "POST" and request.content_type == ARCHIVE:
        return take_body(request, by, owners)
    form = ImportForm(
        request.POST or None,
        request.FILES or None,
        owners=owners,
        initial={"owner": request.GET.get("owner", by.username)},
    )
    if request.method == "POST" and form.is_valid():
        try:
            made = take_archive(form.cleaned_data["archive"], by, form.cleaned_data)
        except (HubError, StorageError) as problem:
            form.add_error(None, str(problem))
        else:
            return HttpResponseRedirect(welcome(request, made))
    return render(request, "repos/import.html", {"form": form}, status=400 if form.is_bound else 200)


def take_body(request: HttpRequest, by: User, owners: list[str]) -> JsonResponse:
    """The fields stand in the address. Answers {"address"}; a refusal is {"error"}."""
    form = ImportForm(request.GET, owners=owners)
    del form.fields["archive"]
    if not form.is_valid():
        problems = [
            f"{form.fields[name].label or name.capitalize()}: {' '.join(row)}" for name, row in form.errors.items()
        ]
        return refuse(" ".join(problems))
    if int(request.headers.get("Content-Length") or 0) > MAX_ARCHIVE_BYTES:
        return refuse(f"An archive has at most {MAX_ARCHIVE_BYTES:,} bytes; ask the operator to import this one.", 413)
    try:
        made = take_archive(request, by, form.cleaned_data)
    except (HubError, StorageError) as problem:
        return refuse(str(problem), getattr(problem, "status", 400))
    return JsonResponse({"address": welcome(request, made)})


def refuse(sentence: str, status: int = 400) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)


def take_archive(stream: Any, by: User, data: dict[str, Any]) -> Repo:
    return import_archive(
        stream=stream,
        by=by,
        owner=owner_for(data["owner"], by),
        name=data["name"],
        is_private=PRIVATE[data["visibility"]],
        max_commits=SOON_COMMITS,
    )


def welcome(request: HttpRequest, made: Repo) -> str:
    messages.success(
        request, f"{made.full_name} is here, with its history. Its files are screened now, as every push is."
    )
    return made.path
