"""Lists of repositories: filters, order and pages. No git is opened unless files are asked for."""

import base64
import binascii
import json
from datetime import UTC, datetime
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse

from hub.api.addresses import next_page
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader
from hub.api.hf.entries import describe_sibling, list_files
from hub.api.hf.info import describe_row, read_expansions
from hub.common.errors import InvalidInput, NotSupported, RevisionNotFound
from hub.common.paging import cut_page, read_limit
from hub.common.prepared import Prepared
from hub.repos.find import find_owner
from hub.repos.models import GATES, Repo, reach_of

PAGE, MOST = 100, 1000
Rows = TypeVar("Rows", bound=QuerySet[Any])
MOST_WITH_FILES = 50  # each opens a git repository
SORTS = {
    "lastModified": "updated_at",
    "last_modified": "updated_at",
    "createdAt": "created_at",
    "created_at": "created_at",
    "downloads": "downloads",
    "likes": "likes",
    "trendingScore": "likes",
    "trending_score": "likes",
}
PLAIN = frozenset({"limit", "sort", "direction", "full", "cardData", "config", "expand", "expand[]"})  # filter nothing
IDENTITY = frozenset({"_id", "id", "modelId"})


def list_repos(request: HttpRequest, *, type: str) -> HttpResponse:
    expansions = read_expansions(request)
    has_files = flag_of(request.GET.get("full")) or "siblings" in expansions
    most = MOST_WITH_FILES if has_files else MOST
    limit = read_limit(request, default=min(PAGE, most), most=most)
    field = read_sort(request)
    page, has_more = cut_page(read_rows(request, type, field, limit + 1), limit=limit)
    headers = {}
    if has_more:
        headers["Link"] = next_page(request, cursor=write_cursor(page[-1], field))
    items = [describe_listed(request, repo, expansions, has_files=has_files) for repo in page]
    return answer(items, headers=headers)


def read_rows(request: HttpRequest, type: str, field: str, count: int) -> list[Repo]:
    user: Any = request.user
    if request.GET.keys() <= PLAIN and not reach_of(getattr(user, "token", None)):
        if user.is_authenticated and not user.is_moderator:
            return plain_page(type, field, count, "member").rows(user.pk)
        return plain_page(type, field, count, "moderator" if user.is_authenticated else "stranger").rows()
    rows = filter_repos(request, listed_for(user).filter(type=type))
    return list(after_cursor(rows, field, request.GET.get("cursor")).order_by(f"-{field}", "-pk")[:count])


def listed_for(user: Any) -> QuerySet[Repo]:
    rows = Repo.objects.visible_to(user).for_listing()
    return rows if getattr(user, "is_moderator", False) else rows.filter(is_disabled=False)


@lru_cache(maxsize=128)
def plain_page(type: str, field: str, count: int, kind: str) -> Prepared[Repo]:
    """The beginning of the list without any filter, which is what most ask for."""

    def build(*key: int) -> QuerySet[Repo]:
        reader = SimpleNamespace(pk=sum(key), is_authenticated=kind != "stranger", is_moderator=kind == "moderator")
        return listed_for(reader).filter(type=type).order_by(f"-{field}", "-pk")[:count]

    return Prepared(build, *[int] * (kind == "member"))


def read_sort(request: HttpRequest) -> str:
    name = request.GET.get("sort") or "trendingScore"
    if name not in SORTS:
        raise InvalidInput(f"Lists cannot be sorted by {name!r}; use {', '.join(sorted(SORTS))}.")
    return SORTS[name]


def refuse_unknown_filters(request: HttpRequest) -> None:
    """A filter that is not applied would answer another question than was asked."""
    for name in ("num_parameters", "apps", "inference", "inference_provider", "linked"):
        if name in request.GET:
            raise NotSupported(f"This hub cannot filter by {name!r}; leave it out and look at each repository.")


def filter_repos(request: HttpRequest, rows: QuerySet[Repo]) -> QuerySet[Repo]:
    """Every filter narrows; a search looks at the name of the owner, of the repository and at the description."""
    query = request.GET
    refuse_unknown_filters(request)
    if author := query.get("author"):
        owner = find_owner(author)
        rows = rows.filter(**owner) if owner else rows.none()
    for text in query.getlist("search"):
        for word in text.replace("/", " ").split():
            named = Q(name__icontains=word) | Q(description__icontains=word)
            owned = Q(owner_user__username__icontains=word) | Q(owner_organization__name__icontains=word)
            rows = rows.filter(named | owned)
    for tag in [*query.getlist("filter"), *query.getlist("pipeline_tag"), *query.getlist("tags")]:
        for part in tag.split(","):
            rows = has_tag(rows, part.strip()) if part.strip() else rows
    if "gated" in query:
        if query["gated"] in GATES:
            rows = rows.filter(gated=query["gated"])
        else:
            rows = rows.exclude(gated="") if flag_of(query["gated"]) else rows.filter(gated="")
    return rows


def has_tag(rows: QuerySet[Repo], tag: str) -> QuerySet[Repo]:
    """Repositories whose list of tags holds `tag`. SQLite knows no such question and compares text."""
    if connection.features.supports_json_field_contains:
        return rows.filter(tags__contains=[tag])
    return rows.annotate(tags_text=Cast("tags", TextField())).filter(tags_text__contains=json.dumps(tag))


def write_cursor(row: Any, field: str) -> str:
    """Where the next page begins: after this value and, among equals, after this key."""
    value = getattr(row, field)
    value = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([value, row.pk]).encode()).decode()


def after_cursor(rows: Rows, field: str, cursor: str | None) -> Rows:
    if not cursor:
        return rows
    try:
        value, pk = json.loads(base64.urlsafe_b64decode(cursor))
        value = datetime.fromisoformat(value).astimezone(UTC) if field.endswith("_at") else int(value)
        pk = int(pk)
    except (binascii.Error, ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidInput("The cursor is not one of this list; start again without it.") from None
    return rows.filter(Q(**{f"{field}__lt": value}) | Q(**{field: value, "pk__lt": pk}))


def describe_listed(request: HttpRequest, repo: Repo, expansions: list[str], *, has_files: bool) -> dict[str, Any]:
    item = describe_row(repo)
    if has_files:
        item["siblings"] = list_siblings(request, repo)
    is_full = flag_of(request.GET.get("full"))
    if (is_full or flag_of(request.GET.get("cardData")) or "cardData" in expansions) and repo.card:
        item["cardData"] = repo.card
    if expansions:
        return {key: value for key, value in item.items() if key in IDENTITY or key in expansions}
    return item


def list_siblings(request: HttpRequest, repo: Repo) -> list[dict[str, Any]]:
    reader = open_reader(request, repo)
    try:
        commit = reader.resolve(None)
    except RevisionNotFound:
        return []
    return [describe_sibling(entry, with_blobs=False) for entry in list_files(reader, commit)]


def list_tags(request: HttpRequest, *, type: str) -> HttpResponse:
    """The tags in use, by kind: `language:de` is of kind language, a bare word is other."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    rows = Repo.objects.visible_to(None).filter(type=type, is_disabled=False).values_list("tags", flat=True)
    for tags in rows[:10_000]:
        for tag in tags if isinstance(tags, list) else []:
            kind, found, label = str(tag).partition(":")
            kind, label = (kind, label) if found else ("other", str(tag))
            groups.setdefault(kind, {})[str(tag)] = {"type": kind, "id": str(tag), "label": label}
    return answer({kind: sorted(tags.values(), key=lambda tag: tag["id"]) for kind, tags in groups.items()})


repos = endpoint(GET=list_repos)
tags_by_type = endpoint(GET=list_tags)
