"""Signing up, in and out; the one-time link that sets a password; approving a program that asks for access."""

from typing import Any

from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from hub.accounts.people import create_user
from hub.accounts.throttles import check_patience, forget_failures, note_failure, subjects_of
from hub.common.errors import HubError
from hub.web.forms import NewPasswordForm, SignInForm, SignUpForm
from hub.web.password_links import find_link_user


def next_address(request: HttpRequest) -> str:
    """Where to go after signing in: `?next=`, if it is an address of this site."""
    address = request.POST.get("next") or request.GET.get("next") or "/"
    is_ours = url_has_allowed_host_and_scheme(address, allowed_hosts={request.get_host()})
    return address if is_ours and address.startswith("/") else "/"


@sensitive_post_parameters("password")
@never_cache
def sign_up(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return HttpResponseRedirect(next_address(request))
    form = SignUpForm(request.POST or None)
    now, subjects = timezone.now(), subjects_of(request, "sign-up")
    if form.is_bound:
        check_patience(subjects, now=now)
    if request.method == "POST" and form.is_valid():
        try:
            user = create_user(**form.cleaned_data)
        except HubError as problem:
            about_password = "password" in problem.message.lower() and "name" not in problem.message.lower()
            form.add_error("password" if about_password else "username", problem.message)
        else:
            login(request, user)
            messages.success(request, f"Welcome, {user.username}. This is your page of the hub.")
            return HttpResponseRedirect(next_address(request))
    if form.is_bound:
        note_failure(subjects, now=now)
    context = {"form": form, "next": next_address(request)}
    return render(request, "accounts/sign_up.html", context, status=400 if form.is_bound else 200)


@sensitive_post_parameters("password")
@never_cache
def sign_in(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated and request.method == "GET":
        return HttpResponseRedirect(next_address(request))
    form = SignInForm(request, request.POST or None)
    now, subjects = timezone.now(), subjects_of(request, "sign-in", request.POST.get("username", ""))
    if form.is_bound:
        check_patience(subjects, now=now)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        forget_failures(subjects[-1])
        return HttpResponseRedirect(next_address(request))
    if form.is_bound:
        note_failure(subjects, now=now)
    context = {"form": form, "next": next_address(request)}
    return render(request, "accounts/sign_in.html", context, status=400 if form.is_bound else 200)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponseRedirect("/")


@sensitive_post_parameters("password")
@never_cache
def use_password_link(request: HttpRequest, key: str, secret: str) -> HttpResponse:
    """Set a password by a link that works once; an operator hands it over where no mail server is."""
    user = find_link_user(key, secret)
    if user is None:
        return render(request, "accounts/password_link.html", {"form": None}, status=404)
    form = NewPasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        problem = set_password(user, form.cleaned_data["password"])
        if not problem:
            login(request, user)
            messages.success(request, "Your password is set, and you are signed in.")
            return HttpResponseRedirect("/")
        form.add_error("password", problem)
    context = {"form": form, "person": user}
    return render(request, "accounts/password_link.html", context, status=400 if form.is_bound else 200)


def set_password(user: Any, password: str) -> str:
    """Save it and return "", or say why it is too weak."""
    try:
        validate_password(password, user)
    except ValidationError as problem:
        return " ".join(problem.messages)
    user.set_password(password)
    user.save(update_fields=["password"])
    return ""
