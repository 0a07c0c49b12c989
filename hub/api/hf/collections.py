"""Collections as the stock client reads and arranges them."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.names import find_owner
from hub.api.addresses import next_page
from hub.api.hf.endpoints import View, answer, endpoint, flag_of, read_json, signed_in, text_of
from hub.api.hf.listing import after_cursor, write_cursor
from hub.api.hf.times import format_time
from hub.common.errors import HubError, InvalidInput, NotFound
from hub.common.paging import cut_page, read_limit, read_number
from hub.community import collections as shelves
from hub.community.social_models import Collection, CollectionItem
from hub.repos.lifecycle import owner_for
from hub.repos.models import Repo

PAGE, MOST = 100, 100
SORTS = {"lastModified": "updated_at", "upvotes": "upvotes", "trending": "upvotes"}
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space", "collections": "collection"}


def list_collections(request: HttpRequest) -> HttpResponse:
    """The items of each are cut to the first four, as the client knows it."""
    limit = read_limit(request, default=PAGE, most=MOST)
    field = read_sort(request)
    rows = filter_collections(request, shelves.visible_collections(request.user))
    rows = after_cursor(rows, field, request.GET.get("cursor")).order_by(f"-{field}", "-pk")
    page, has_more = cut_page(list(rows[: limit + 1]), limit=limit)
    headers = {"Link": next_page(request, cursor=write_cursor(page[-1], field))} if has_more else None
    items: dict[int, list[CollectionItem]] = {row.pk: [] for row in page}
    for item in shelves.visible_items(page, request.user, first=shelves.SHOWN):
        items[item.collection_id].append(item)
    return answer([describe_listed(row, items[row.pk]) for row in page], headers=headers)


def read_sort(request: HttpRequest) -> str:
    name = request.GET.get("sort") or "lastModified"
    if name not in SORTS:
        raise InvalidInput(f"Collections cannot be sorted by {name[:40]!r}; use {', '.join(SORTS)}.")
    return SORTS[name]


MAX_ASKED = 8  # each is a join


def filter_collections(request: HttpRequest, rows: Any) -> Any:
    """`owner` is a name; `item` is written "models/alice/poems" and names what the asker may read."""
    if owner := request.GET.get("owner"):
        try:
            rows = rows.filter(**shelves.owned_by(find_owner(owner)))
        except NotFound:
            return rows.none()
    items = list(dict.fromkeys(request.GET.getlist("item")))
    if len(items) > MAX_ASKED:
        raise InvalidInput(f"Ask for at most {MAX_ASKED} items at once; these are {len(items)}.")
    for item in items:
        kind, _, name = item.partition("/")
        try:
            thing = shelves.find_thing(KINDS.get(kind, kind), name, request.user)
        except HubError:
            return rows.none()
        rows = rows.filter(items__repo=thing) if isinstance(thing, Repo) else rows.filter(items__inner=thing)
    return rows


def describe_listed(collection: Collection, items: list[CollectionItem]) -> dict[str, Any]:
    """Without `position`: the client counts by itself and would take it twice."""
    return {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description or None,
        "owner": collection.owner.name,  # a text, as the client's Collection declares it
        "lastUpdated": format_time(collection.updated_at),
        "theme": collection.theme,
        "private": collection.is_private,
        "upvotes": collection.upvotes,
        "items": [describe_item(item, position) for position, item in enumerate(items)],
    }


def describe(request: HttpRequest, collection: Collection) -> dict[str, Any]:
    items = shelves.visible_items([collection], request.user)
    return describe_listed(collection, items) | {"position": collection.position}


def describe_item(item: CollectionItem, position: int) -> dict[str, Any]:
    thing = item.thing
    described: dict[str, Any] = {"_id": item.key, "type": item.type, "position": position}
    if item.note:
        described["note"] = {"text": item.note, "html": None}
    if isinstance(thing, Collection):
        return described | {"id": thing.key, "slug": thing.slug, "title": thing.title, "private": thing.is_private}
    return described | {
        "id": thing.full_name,
        "author": thing.owner.name,
        "lastModified": format_time(thing.updated_at),
        "likes": thing.likes,
        "downloads": thing.downloads,
        "private": thing.is_private,
        "gated": thing.gated or False,
        "repoType": thing.type,
    }


@signed_in
def create_collection(request: HttpRequest) -> HttpResponse:
    body = read_json(request)
    made = shelves.create_collection(
        owner=owner_for(text_of(body, "namespace", default=""), request.user),
        by=request.user,
        title=text_of(body, "title"),
        description=text_of(body, "description", default=""),
        is_private=flag_of(body.get("private", False)),
    )
    return answer(describe(request, made))


def show_collection(request: HttpRequest, *, namespace: str, slug: str) -> HttpResponse:
    return answer(describe(request, shelves.find_collection(namespace, slug, request.user)))


@signed_in
def update_collection(request: HttpRequest, *, namespace: str, slug: str) -> HttpResponse:
    body = read_json(request)
    changes: dict[str, Any] = {key: text_of(body, key) for key in ("title", "description", "theme") if key in body}
    if "private" in body:
        changes["is_private"] = flag_of(body["private"])
    if "position" in body:
        changes["position"] = position_of(body)
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    collection = shelves.update_collection(collection=collection, by=request.user, **changes)
    return answer({"success": True, "data": describe(request, collection)})


def position_of(body: dict[str, Any]) -> int:
    value = read_number(str(body["position"]))
    if value is None:
        raise InvalidInput(f"A position is a number from 0 on; this one is {body['position']!r:.40}.")
    return value


@signed_in
def delete_collection(request: HttpRequest, *, namespace: str, slug: str) -> HttpResponse:
    collection = shelves.find_collection(namespace, slug, request.user)
    shelves.delete_collection(collection=collection, by=request.user)
    return answer({"success": True})


@signed_in
def add_item(request: HttpRequest, *, namespace: str, slug: str) -> HttpResponse:
    body = read_json(request)
    what = body.get("item")
    if not isinstance(what, dict):
        raise InvalidInput('Name what to add, for example {"item": {"type": "model", "id": "alice/poems"}}.')
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    thing = shelves.find_thing(text_of(what, "type"), text_of(what, "id"), request.user)
    shelves.add_item(collection=collection, by=request.user, thing=thing, note=note_of(body) or "")
    return answer(describe(request, collection))


def note_of(body: dict[str, Any]) -> str | None:
    return text_of(body, "note") if body.get("note") is not None else None


@signed_in
def update_item(request: HttpRequest, *, namespace: str, slug: str, item: str) -> HttpResponse:
    body = read_json(request)
    position = position_of(body) if body.get("position") is not None else None
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    shelves.update_item(collection=collection, key=item, by=request.user, note=note_of(body), position=position)
    return answer({"success": True})


@signed_in
def remove_item(request: HttpRequest, *, namespace: str, slug: str, item: str) -> HttpResponse:
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    shelves.remove_item(collection=collection, key=item, by=request.user)
    return answer({"success": True})


def change_upvote(upvotes: bool) -> View:
    @signed_in
    def change(request: HttpRequest, *, namespace: str, slug: str) -> HttpResponse:
        collection = shelves.find_collection(namespace, slug, request.user)
        return answer({"upvotes": shelves.set_upvote(collection=collection, by=request.user, upvotes=upvotes)})

    return change


many = endpoint(GET=list_collections, POST=create_collection)
one = endpoint(GET=show_collection, PATCH=update_collection, DELETE=delete_collection)
items = endpoint(POST=add_item)
item = endpoint(PATCH=update_item, DELETE=remove_item)
upvote = endpoint(POST=change_upvote(True), DELETE=change_upvote(False))
