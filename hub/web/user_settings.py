"""Settings of a person: profile, password, access tokens, organizations."""

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from hub.accounts.models import AccessToken, Organization, User
from hub.accounts.names import find_owner
from hub.accounts.organizations import create_organization, remove_member, set_member
from hub.accounts.permissions import require
from hub.accounts.tokens import create_token
from hub.common.errors import HubError, InvalidInput, NotFound
from hub.web.accounts import set_password
from hub.web.forms import NewOrganizationForm, OrganizationForm, PasswordForm, PersonRoleForm, ProfileForm, TokenForm
from hub.web.repo_pages import require_browser
from hub.web.token_scopes import describe_scopes, read_scopes


def show_first(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/settings/profile")


def edit_profile(request: HttpRequest) -> HttpResponse:
    user = require_browser(request)
    form = ProfileForm(request.POST or None, initial={"fullname": user.fullname, "email": user.email, "bio": user.bio})
    if request.method == "POST" and form.is_valid():
        for name, value in form.cleaned_data.items():
            setattr(user, name, value)
        user.save(update_fields=list(form.cleaned_data))
        messages.success(request, "Your profile is saved.")
        return HttpResponseRedirect("/settings/profile")
    context = {"form": form, "part": "profile"}
    return render(request, "accounts/settings_profile.html", context, status=400 if form.is_bound else 200)


@sensitive_post_parameters()
@never_cache
def change_password(request: HttpRequest) -> HttpResponse:
    require_browser(request)
    form = PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        if not request.user.check_password(form.cleaned_data["current"]):
            form.add_error("current", "This is not your present password.")
        elif problem := set_password(request.user, form.cleaned_data["new"]):
            form.add_error("new", problem)
        else:
            update_session_auth_hash(request, request.user)  # every other browser is signed out
            messages.success(request, "Your password is changed; other browsers are signed out.")
            return HttpResponseRedirect("/settings/password")
    context = {"form": form, "part": "password"}
    return render(request, "accounts/settings_password.html", context, status=400 if form.is_bound else 200)


@never_cache
def list_tokens(request: HttpRequest) -> HttpResponse:
    """The tokens, and a form for a new one, whose text this answer alone shows."""
    user = require_browser(request)
    form = TokenForm(request.POST or None)
    shown = make_token(form, user) if request.method == "POST" and form.is_valid() else ""
    if shown:
        form = TokenForm()
    context = {
        "form": form,
        "part": "tokens",
        "shown": shown,
        "tokens": [(token, describe_scopes(token)) for token in user.tokens.order_by("-created_at")],
        "now": timezone.now(),
    }
    return render(request, "accounts/settings_tokens.html", context, status=400 if form.is_bound else 200)


def make_token(form: TokenForm, user: User) -> str:
    """The new token, or nothing when the form now says what is wrong."""
    given = form.cleaned_data
    is_fine = given["role"] == AccessToken.Role.FINE_GRAINED
    try:
        scopes = read_scopes(reading=given["reading"], writing=given["writing"], user=user) if is_fine else None
        if not is_fine and (given["reading"] or given["writing"]):
            raise InvalidInput("Names are for a fine-grained token; choose that kind, or leave them out.")
    except HubError as problem:
        form.add_error("reading", problem.message)
        return ""
    expires_at = timezone.now() + timedelta(days=int(given["days"])) if given["days"] else None
    _, text = create_token(user=user, name=given["name"], role=given["role"], expires_at=expires_at, scopes=scopes)
    return text


@require_POST
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    require_browser(request)
    token = AccessToken.objects.filter(user=request.user, pk=pk).first()
    if token is None:
        raise NotFound("There is no such token among yours.")
    name = token.name
    token.delete()
    messages.success(request, f"The token {name!r} is revoked: nothing can use it any more.")
    return HttpResponseRedirect("/settings/tokens")


def new_organization(request: HttpRequest) -> HttpResponse:
    require_browser(request)
    form = NewOrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_organization(created_by=request.user, **form.cleaned_data)
        except HubError as problem:
            form.add_error("name", problem.message)
        else:
            messages.success(request, f"{made.name} is ready. Add the people who work with you.")
            return HttpResponseRedirect(f"/settings/organizations/{made.name}")
    return render(request, "accounts/new_organization.html", {"form": form}, status=400 if form.is_bound else 200)


def find_organization(request: HttpRequest, name: str) -> Organization:
    require_browser(request)
    owner = find_owner(name)
    if not isinstance(owner, Organization):
        raise NotFound(f"There is no organization named {name!r} here.")
    require(request.user, "admin", owner)
    return owner


def edit_organization(request: HttpRequest, name: str) -> HttpResponse:
    organization = find_organization(request, name)
    kept = {key: getattr(organization, key) for key in ("fullname", "description", "is_private_by_default")}
    form = OrganizationForm(request.POST or None, initial=kept)
    if request.method == "POST" and form.is_valid():
        for key, value in form.cleaned_data.items():
            setattr(organization, key, value)
        organization.save(update_fields=list(form.cleaned_data))
        messages.success(request, "Saved.")
        return HttpResponseRedirect(f"/settings/organizations/{organization.name}")
    context = {
        "form": form,
        "organization": organization,
        "person_form": PersonRoleForm(auto_id="person_%s"),
        "memberships": organization.memberships.select_related("user").order_by("user__username"),
    }
    return render(request, "accounts/settings_organization.html", context, status=400 if form.is_bound else 200)


@require_POST
def change_member(request: HttpRequest, name: str) -> HttpResponse:
    """Add a person, change a role, or (role "none") take somebody out."""
    organization = find_organization(request, name)
    try:
        person = find_owner(request.POST.get("username", "").strip())
        if isinstance(person, Organization):
            raise InvalidInput(f"{person} is an organization; name a person.")
        if request.POST.get("role") == "none":
            remove_member(organization=organization, user=person, by=request.user)  # type: ignore[arg-type]
            messages.success(request, f"{person} is no member any more.")
        else:
            role = request.POST.get("role", "")
            set_member(organization=organization, user=person, role=role, by=request.user)  # type: ignore[arg-type]
            messages.success(request, f"{person} is a member with the role {request.POST['role']}.")
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(f"/settings/organizations/{organization.name}")
