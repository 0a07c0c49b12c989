"""Pages of collections: the list, one shelf, making and arranging it, and putting a repository on it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput
from hub.community import collections as shelves
from hub.community.social_models import Collection, CollectionItem
from hub.repos.lifecycle import owner_for
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.forms import CollectionForm
from hub.web.listings import cut_numbered_page, read_words
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from hub.web.repos import list_owners

SORTS = {
    "updated": ("Recently updated", ("-updated_at", "-pk")),
    "upvotes": ("Most upvotes", ("-upvotes", "-updated_at", "-pk")),
    "title": ("Title", ("title", "pk")),
}
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space", "collections": "collection"}


@dataclass(frozen=True)
class Shelf:
    """A collection with the first items that the reader may see."""

    collection: Collection
    items: list[CollectionItem] = field(default_factory=list)


def with_first_items(collections: Iterable[Collection], user: Any) -> list[Shelf]:
    found = {row.pk: Shelf(row) for row in collections}
    for item in shelves.visible_items([shelf.collection for shelf in found.values()], user, first=shelves.SHOWN):
        found[item.collection_id].items.append(item)
    return list(found.values())


def list_collections(request: HttpRequest) -> HttpResponse:
    words = read_words(request, "q")[:200]
    sort = request.GET.get("sort", "updated")
    sort = sort if sort in SORTS else "updated"
    rows = shelves.visible_collections(request.user)
    for word in words.split()[:8]:
        rows = rows.filter(Q(title__icontains=word) | Q(description__icontains=word))
    page = cut_numbered_page(request, rows.order_by(*SORTS[sort][1]))
    context = {
        "page": page,
        "shelves": with_first_items(page.object_list, request.user),
        "words": words,
        "sort": sort,
        "list_query": urlencode({"q": words, "sort": sort}) + "&",
        "sorts": [(name, label) for name, (label, _) in SORTS.items()],
    }
    return render(request, "collections/list.html", context)


def show_collection(request: HttpRequest, namespace: str, slug: str) -> HttpResponse:
    """Another title or owner in the address leads to the address of now."""
    collection = shelves.find_collection(namespace, slug, request.user)
    if collection.slug != f"{namespace}/{slug}":
        return HttpResponseRedirect(collection.path)
    is_signed_in = request.user.is_authenticated
    context = {
        "collection": collection,
        "items": shelves.visible_items([collection], request.user),
        "may_arrange": can(request.user, "collect", collection.owner),
        "may_remove": can(request.user, "moderate"),
        "is_upvoted": is_signed_in and collection.upvoted_by.filter(user=request.user).exists(),
    }
    return render(request, "collections/show.html", context)


def new_collection(request: HttpRequest) -> HttpResponse:
    """Make one; with `item` ("models/alice/poet") that repository is its first item."""
    user = require_sign_in(request)
    owners = list_owners(user)
    kept = {"owner": request.GET.get("owner", owners[0]), "item": request.GET.get("item", "")}
    form = CollectionForm(request.POST or None, owners=owners, initial=kept)
    if request.method == "POST" and form.is_valid():
        try:
            made = make_collection(request, form.cleaned_data)
        except HubError as problem:
            form.add_error("title", problem.message)
        else:
            return HttpResponseRedirect(made.path)
    return render(request, "collections/form.html", {"form": form}, status=400 if form.is_bound else 200)


def make_collection(request: HttpRequest, data: dict[str, Any]) -> Collection:
    thing = find_named(data["item"], request.user) if data["item"] else None
    made = shelves.create_collection(
        owner=owner_for(data["owner"], request.user),
        by=request.user,
        title=data["title"],
        description=data["description"],
        is_private=data["visibility"] == "private",
    )
    if thing is not None:
        shelves.add_item(collection=made, by=request.user, thing=thing)
    return made


def find_named(text: str, user: Any) -> Repo | Collection:
    """What people write or paste: "datasets/alice/tides", "alice/poet", or the address of its page."""
    name = text.strip().partition("://")[2].partition("/")[2] if "://" in text else text.strip().strip("/")
    kind, _, rest = name.partition("/")
    if kind not in KINDS:
        kind, rest = "models", name
    if rest.count("/") != 1:
        raise InvalidInput(f"{text[:80]!r} names nothing here; write for example alice/poet or datasets/alice/tides.")
    return shelves.find_thing(KINDS[kind], rest, user)


def edit_collection(request: HttpRequest, namespace: str, slug: str) -> HttpResponse:
    require_sign_in(request)
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    kept = {
        "title": collection.title,
        "description": collection.description,
        "visibility": "private" if collection.is_private else "public",
    }
    form = CollectionForm(request.POST or None, initial=kept)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            changed = shelves.update_collection(
                collection=collection,
                by=request.user,
                title=data["title"],
                description=data["description"],
                is_private=data["visibility"] == "private",
            )
        except HubError as problem:
            form.add_error("title", problem.message)
        else:
            messages.success(request, "The collection is saved.")
            return HttpResponseRedirect(changed.path)
    context = {"form": form, "collection": collection}
    return render(request, "collections/form.html", context, status=400 if form.is_bound else 200)


@require_POST
def remove_collection(request: HttpRequest, namespace: str, slug: str) -> HttpResponse:
    require_sign_in(request)
    collection = shelves.find_collection(namespace, slug, request.user)
    shelves.delete_collection(collection=collection, by=request.user)
    messages.success(request, f"The collection {collection.title} is deleted; what it held stays where it is.")
    return HttpResponseRedirect(f"/{collection.owner.name}?tab=collections")


@require_POST
def vote(request: HttpRequest, namespace: str, slug: str) -> HttpResponse:
    """Upvote, or take the vote back."""
    user = require_sign_in(request)
    collection = shelves.find_collection(namespace, slug, user)
    has_voted = collection.upvoted_by.filter(user=user).exists()
    shelves.set_upvote(collection=collection, by=user, upvotes=not has_voted)
    return HttpResponseRedirect(collection.path)


@require_POST
def add_item(request: HttpRequest, namespace: str, slug: str) -> HttpResponse:
    require_sign_in(request)
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    try:
        thing = find_named(request.POST.get("name", ""), request.user)
        shelves.add_item(collection=collection, by=request.user, thing=thing, note=request.POST.get("note", ""))
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(collection.path)


@require_POST
def change_item(request: HttpRequest, namespace: str, slug: str, item: str) -> HttpResponse:
    """`act` is up, down, note or remove."""
    require_sign_in(request)
    collection = shelves.find_collection(namespace, slug, request.user, action="collect")
    act = request.POST.get("act", "")
    try:
        if act == "remove":
            shelves.remove_item(collection=collection, key=item, by=request.user)
        elif act == "note":
            note = request.POST.get("note", "")
            shelves.update_item(collection=collection, key=item, by=request.user, note=note)
        elif act in ("up", "down"):
            place = place_of(collection, item, request.user) + (1 if act == "down" else -1)
            shelves.update_item(collection=collection, key=item, by=request.user, position=max(0, place))
        else:
            raise InvalidInput("Say what to do with the item: up, down, note or remove.")
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(f"{collection.path}#item-{item}" if act != "remove" else collection.path)


def place_of(collection: Collection, key: str, user: Any) -> int:
    """Where an item stands among those that this person sees; 0 for one that is gone."""
    keys = [item.key for item in shelves.visible_items([collection], user)]
    return keys.index(key) if key in keys else 0


@repo_page()
def collect_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """Which of one's collections hold this repository; put it into one, or take it out."""
    user = require_sign_in(request)
    own = shelves.writable_collections(user)
    if request.method == "POST":
        collection = own.filter(key=request.POST.get("collection", "")).first()
        try:
            if collection is None:
                raise InvalidInput("Choose one of your collections.")
            toggle(collection, repo, user)
        except HubError as problem:
            messages.error(request, problem.message)
        return HttpResponseRedirect(f"{repo.path}/collect")
    context = {
        "own": own,
        "holding": set(own.filter(items__repo=repo).values_list("pk", flat=True)),
        "item_name": f"{repo.type}s/{repo.full_name}",
    }
    return render_repo_page(request, repo, reader, "collections/collect.html", tab="", **context)


def toggle(collection: Collection, repo: Repo, user: Any) -> None:
    item = collection.items.filter(repo=repo).first()
    if item is None:
        shelves.add_item(collection=collection, by=user, thing=repo)
    else:
        shelves.remove_item(collection=collection, key=item.key, by=user)
