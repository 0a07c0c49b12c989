"""The page of a person or an organization: who they are, and what they have made that the reader may see."""

from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from hub.accounts.models import Organization
from hub.accounts.names import find_owner
from hub.accounts.permissions import can
from hub.common.errors import InvalidInput, NotFound
from hub.community.collections import owned_by, visible_collections
from hub.community.follows import count_follows, followers_of, following_of, is_following, set_follow
from hub.community.models import Discussion
from hub.web.collections import with_first_items
from hub.web.listings import cut_numbered_page, listed_repos
from hub.web.repo_pages import require_sign_in

TABS = ("model", "dataset", "collections", "proposals", "members", "followers", "following")


def show_profile(request: HttpRequest, namespace: str) -> HttpResponse:
    owner = find_owner(namespace)
    if owner.name != namespace:
        return HttpResponseRedirect(f"/{owner.name}")
    is_organization = isinstance(owner, Organization)
    if not is_organization and not owner.is_active:
        raise NotFound(f"There is no person or organization named {namespace!r} here.")
    repos = listed_repos(request.user).filter(Q(owner_organization=owner) if is_organization else Q(owner_user=owner))
    types = list(repos.values_list("type", flat=True))
    usual = "dataset" if "dataset" in types and "model" not in types else "model"
    tab = request.GET.get("tab", usual)
    tab = tab if tab in TABS else usual
    context: dict[str, Any] = {
        "owner": owner,
        "is_organization": is_organization,
        "is_mine": can(request.user, "admin", owner),
        "tab": tab,
        "counts": {"model": types.count("model"), "dataset": types.count("dataset")},
        "follows": {"numFollowers": followers_of(owner).count()} if is_organization else count_follows(owner),
        "may_follow": request.user.is_authenticated and request.user != owner,
        "is_following": is_following(request.user, owner),
        "organizations": [] if is_organization else owner.organizations.order_by("name"),
    }
    shelves = visible_collections(request.user).filter(**owned_by(owner)).order_by("position", "-pk")
    context["counts"]["collections"] = shelves.count()
    if tab == "collections":
        context["page"] = cut_numbered_page(request, shelves)
        context["shelves"] = with_first_items(context["page"].object_list, request.user)
    elif tab in ("model", "dataset"):
        context["page"] = cut_numbered_page(request, repos.filter(type=tab).order_by("-updated_at", "-pk"))
    elif tab == "proposals" and not is_organization:
        context["page"] = cut_numbered_page(request, list_proposals(request, owner))
    elif tab in ("followers", "following"):
        rows = following_of(owner) if tab == "following" and not is_organization else followers_of(owner)
        context["page"] = cut_numbered_page(request, rows)
    elif is_organization:
        context["members"] = owner.memberships.select_related("user").order_by("user__username")
    return render(request, "accounts/profile.html", context)


@require_POST
def follow(request: HttpRequest, namespace: str) -> HttpResponse:
    """Follow a person or an organization, or stop."""
    user = require_sign_in(request)
    owner = find_owner(namespace)
    try:
        set_follow(owner=owner, by=user, follows=not is_following(user, owner))
    except InvalidInput as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(f"/{owner.name}")


def list_proposals(request: HttpRequest, owner: Any) -> Any:
    """Pull requests of a person in repositories that the reader may see, newest first."""
    rows = Discussion.objects.filter(author=owner, is_pull_request=True, is_private=False)
    visible = listed_repos(request.user).order_by().values("pk")
    rows = rows.filter(repo__in=visible).select_related("repo__owner_user", "repo__owner_organization")
    return rows.order_by("-created_at", "-pk")
