"""Lists of models and datasets: search, filter, sort, pages; all of it in the address."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.common.paging import read_number
from hub.repos.models import Repo

PER_PAGE = 24
MAX_PAGES = 400  # deeper pages cost the database more than they help anybody
SORTS = {
    "updated": ("Recently updated", ("-updated_at", "-pk")),
    "created": ("Newest", ("-created_at", "-pk")),
    "likes": ("Most liked", ("-likes", "-updated_at", "-pk")),
    "downloads": ("Most downloaded", ("-downloads", "-updated_at", "-pk")),
    "name": ("Name", ("name", "pk")),
}
WHAT = {
    "model": "A model here is a repository: its weights, the recipe that makes them, and the proposals that improve it.",
    "dataset": "A dataset here is a repository of text or tables that models can be trained on, with its licence and history.",
    "space": "A space is a repository with a small application.",
}


@dataclass(frozen=True)
class Filters:
    """What the address asks for."""

    words: str
    tag: str
    sort: str

    @property
    def query(self) -> str:
        """The filters as "a=b&", to which a page number is added."""
        pairs = {"q": self.words, "tag": self.tag, "sort": self.sort if self.sort != "updated" else ""}
        encoded = urlencode({key: value for key, value in pairs.items() if value})
        return f"{encoded}&" if encoded else ""

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.tag)


def read_words(request: HttpRequest, name: str) -> str:
    """What was typed, without the zeros that PostgreSQL takes in no text."""
    return request.GET.get(name, "").replace("\0", "").strip()


def read_filters(request: HttpRequest) -> Filters:
    sort = request.GET.get("sort", "updated")
    return Filters(
        words=read_words(request, "q")[:200],
        tag=read_words(request, "tag")[:100],
        sort=sort if sort in SORTS else "updated",
    )


def listed_repos(user: Any) -> QuerySet[Repo]:
    """What `user` may find in lists: visible, and not disabled by moderation."""
    return Repo.objects.visible_to(user).filter(is_disabled=False).for_listing()


def filter_repos(repos: QuerySet[Repo], filters: Filters) -> QuerySet[Repo]:
    for word in filters.words.split()[:8]:
        for part in word.split("/"):  # "alice/poems" finds the poems of alice
            repos = repos.filter(
                Q(name__icontains=part)
                | Q(description__icontains=part)
                | Q(owner_user__username__icontains=part)
                | Q(owner_organization__name__icontains=part)
            )
    if filters.tag:
        # As text, because SQLite cannot look into a JSON list; the quotes keep "en" from finding "encoder".
        repos = repos.annotate(tag_text=Cast("tags", TextField()), card_text=Cast("card", TextField()))
        quoted = f'"{filters.tag}"'
        repos = repos.filter(Q(tag_text__icontains=quoted) | Q(card_text__icontains=quoted))
    return repos.order_by(*SORTS[filters.sort][1])


def cut_numbered_page(request: HttpRequest, rows: Any, per_page: int = PER_PAGE) -> Page[Any]:
    """The page that `?page=` asks for; a number that is none, or too high, gives the nearest page."""
    number = read_number(request.GET.get("page", "1")) or 1
    return Paginator(rows, per_page).get_page(min(number, MAX_PAGES))


def list_repos(request: HttpRequest, type: str) -> HttpResponse:
    filters = read_filters(request)
    repos = filter_repos(listed_repos(request.user).filter(type=type), filters)
    context = {
        "type": type,
        "kind": Repo.Type(type).label,
        "place": type,
        "what": WHAT[type],
        "page": cut_numbered_page(request, repos),
        "filters": filters,
        "sorts": [(name, label) for name, (label, _) in SORTS.items()],
    }
    return render(request, "repos/list.html", context)
