"""Settings of a repository, for its admins: visibility, name, people, the end."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.accounts.models import Organization
from hub.accounts.names import find_owner
from hub.common.errors import HubError, InvalidInput
from hub.repos.collaborators import remove_collaborator, set_collaborator
from hub.repos.deleted import GRACE
from hub.repos.lifecycle import delete_repo, move_repo, update_settings
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.forms import PersonRoleForm, RepoSettingsForm
from hub.web.repo_pages import render_repo_page, repo_page


@repo_page(action="admin")
def show_settings(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    kept = {
        "description": repo.description,
        "visibility": "private" if repo.is_private else "public",
        "gated": repo.gated or "open",
    }
    form = RepoSettingsForm(request.POST or None, initial=kept)
    if request.method == "POST" and form.is_valid():
        try:
            save_settings(repo, request, form)
        except HubError as problem:
            form.add_error(None, problem.message)
        else:
            messages.success(request, "The settings are saved.")
            return HttpResponseRedirect(f"{repo.path}/settings")
    return render_repo_page(
        request,
        repo,
        reader,
        "repos/settings.html",
        tab="/settings",
        form=form,
        person_form=PersonRoleForm(auto_id="person_%s"),
        people=repo.collaborators.select_related("user").order_by("user__username"),
        status=400 if form.is_bound else 200,
    )


def save_settings(repo: Repo, request: HttpRequest, form: RepoSettingsForm) -> None:
    """Only what has changed: going private and back moves the whole public half."""
    data = form.cleaned_data
    wanted = {"description": data["description"], "is_private": data["visibility"] == "private"}
    if data["gated"]:  # a form of before has no such question
        wanted["gated"] = "" if data["gated"] == "open" else data["gated"]
    changes = {key: value for key, value in wanted.items() if getattr(repo, key) != value}
    if changes:
        update_settings(repo=repo, by=request.user, **changes)


@require_POST
@repo_page(action="admin")
def rename_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    to = request.POST.get("to", "").strip()
    try:
        moved = move_repo(repo=repo, to=to if "/" in to else f"{repo.owner.name}/{to}", by=request.user)
    except HubError as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(f"{repo.path}/settings")
    messages.success(request, "The repository has its new name; the old one keeps leading here.")
    return HttpResponseRedirect(f"{moved.path}/settings")


@require_POST
@repo_page(action="admin")
def remove_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    if request.POST.get("typed_name", "").strip() != repo.full_name:
        messages.error(request, f"Nothing was deleted: type {repo.full_name} to confirm.")
        return HttpResponseRedirect(f"{repo.path}/settings")
    name = repo.full_name
    try:
        delete_repo(repo=repo, by=request.user)
    except HubError as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(f"{repo.path}/settings")
    messages.success(
        request, f"{name} is deleted. You can bring it back for {GRACE.days} days: Settings, Deleted repositories."
    )
    return HttpResponseRedirect("/settings/deleted")


@require_POST
@repo_page(action="admin")
def change_collaborator(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """Give a person a role in this repository, or (role "none") take it away."""
    role = request.POST.get("role", "")
    try:
        person = find_owner(request.POST.get("username", "").strip())
        if isinstance(person, Organization):
            raise InvalidInput(f"{person} is an organization; name a person.")
        if role == "none":
            remove_collaborator(repo=repo, user=person, by=request.user)  # type: ignore[arg-type]
            messages.success(request, f"{person} has no role here any more.")
        else:
            set_collaborator(repo=repo, user=person, role=role, by=request.user)  # type: ignore[arg-type]
            messages.success(request, f"{person} now has the role {role} here.")
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(f"{repo.path}/settings#people")
