"""One search box: models, datasets, people, organizations, discussions. As a page, and as a short list while typing."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.accounts.models import Organization, User
from hub.community.models import Discussion
from hub.web.listings import Filters, filter_repos, listed_repos

INSTANT = 4  # of each kind under the box
WHOLE = 10  # on the page; the lists of models and datasets show the rest


@dataclass(frozen=True)
class Group:
    title: str
    kind: str
    rows: list[Any]
    more: str = ""  # address of all of them


def search(request: HttpRequest) -> HttpResponse:
    words = request.GET.get("q", "").strip()[:200]
    is_instant = bool(getattr(request, "htmx", False))
    groups = find_everything(request.user, words, INSTANT if is_instant else WHOLE) if len(words) > 1 else []
    template = "search_instant.html" if is_instant else "search.html"
    return render(request, template, {"search_query": words, "groups": groups})


def find_everything(user: Any, words: str, count: int) -> list[Group]:
    """Groups that have something, the most wanted kind first."""
    repos = filter_repos(listed_repos(user), Filters(words, "", "likes"))
    groups = [
        Group("Models", "model", list(repos.filter(type="model")[:count]), "/models"),
        Group("Datasets", "dataset", list(repos.filter(type="dataset")[:count]), "/datasets"),
        Group("People", "person", list(find_people(words)[:count])),
        Group("Organizations", "organization", list(find_organizations(words)[:count])),
        Group("Discussions and proposals", "comment", list(find_discussions(user, words)[:count])),
    ]
    return [group for group in groups if group.rows]


def find_people(words: str) -> Any:
    rows = User.objects.filter(is_active=True, is_system=False)
    return rows.filter(Q(username__icontains=words) | Q(fullname__icontains=words)).order_by("username")


def find_organizations(words: str) -> Any:
    return Organization.objects.filter(Q(name__icontains=words) | Q(fullname__icontains=words)).order_by("name")


def find_discussions(user: Any, words: str) -> Any:
    visible = listed_repos(user).order_by().values("pk")
    rows = Discussion.objects.filter(is_private=False, repo__in=visible, title__icontains=words)
    return rows.select_related("repo__owner_user", "repo__owner_organization").order_by("-updated_at", "-pk")
