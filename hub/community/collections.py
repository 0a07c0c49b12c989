"""Collections: shelves of models, datasets, spaces and other collections, each in the order that its owner gives it.

Who may write to a namespace (`collect`) arranges its shelves. A reader is shown only what they may read: positions are
told among what they see, so that a gap betrays nothing."""

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from hub.accounts.models import AccessToken, Organization, User
from hub.accounts.names import find_owner
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, InvalidInput, NotFound, NotSupported
from hub.community.discussions import plain_text
from hub.community.social_models import Collection, CollectionItem, CollectionUpvote
from hub.repos.find import find_repo
from hub.repos.models import Repo

MAX_TITLE, MAX_DESCRIPTION, MAX_NOTE = 100, 150, 500  # characters; the last two as the stock client states them
MAX_COLLECTIONS = 500  # of one owner
MAX_ITEMS = 500  # of one collection
THEMES = ("orange", "blue", "green", "purple", "pink", "indigo")
SHOWN = 4  # items of each collection in a list


def visible_collections(user: Any) -> QuerySet[Collection]:
    """Public ones, and the private ones of oneself and of one's organizations; moderators read all."""
    rows = Collection.objects.select_related("owner_user", "owner_organization")
    if not getattr(user, "is_authenticated", False):
        return rows.filter(is_private=False)
    token = getattr(user, "token", None)
    reach = Q()
    if token is not None and token.role == AccessToken.Role.FINE_GRAINED:
        names = [scope.removeprefix("namespace/") for scope in token.scopes or {} if scope.startswith("namespace/")]
        reach = Q(owner_user__username__in=names) | Q(owner_organization__name__in=names)
    if getattr(user, "is_moderator", False):
        return rows.filter(Q(is_private=False) | reach) if reach else rows
    organizations = user.memberships.values("organization")
    member = Q(owner_user=user) | Q(owner_organization__in=organizations)
    return rows.filter(Q(is_private=False) | (member & reach))


def writable_collections(user: User) -> QuerySet[Collection]:
    """Those that `user` arranges as a person: their own, and those of organizations where they may write."""
    writing = user.memberships.exclude(role="read").values("organization")
    rows = visible_collections(user).filter(Q(owner_user=user) | Q(owner_organization__in=writing))
    return rows.order_by("owner_organization__name", "position", "-id")


def find_collection(namespace: str, slug: str, user: Any, *, action: str = "read") -> Collection:
    """By the key at the end of its slug, whatever its title was when the address was written.

    A private one looks like a missing one to strangers. Raises NotFound, NotSignedIn, Forbidden."""
    missing = NotFound(f"There is no collection {namespace}/{slug} here, or it is private and not yours.")
    key = slug.rpartition("-")[2]
    collection = visible_collections(user).filter(key=key).first()
    if collection is None:
        raise missing
    if collection.owner.name.lower() != namespace.lower():
        try:
            if find_owner(namespace) != collection.owner:  # a former name leads on
                raise missing
        except NotFound:
            raise missing from None
    if action != "read":
        require(user, action, collection.owner)
    return collection


def visible_items(collections: Iterable[Collection], user: Any, *, first: int | None = None) -> list[CollectionItem]:
    """What `user` may read of these collections, in order; with `first`, so many of each."""
    repos = Repo.objects.visible_to(user).filter(is_disabled=False).order_by().values("pk")
    inner = visible_collections(user).order_by().values("pk")
    rows = CollectionItem.objects.filter(collection__in=[row.pk for row in collections])
    rows = rows.filter(Q(repo__in=repos) | Q(inner__in=inner)).select_related(
        "repo__owner_user", "repo__owner_organization", "inner__owner_user", "inner__owner_organization"
    )
    if first is not None:
        order = Window(RowNumber(), partition_by="collection_id", order_by=["position", "id"])
        rows = rows.annotate(rank=order).filter(rank__lte=first)
    return list(rows.order_by("collection_id", "position", "id"))


def check_title(title: str) -> str:
    title = " ".join(plain_text(title).split())
    if not 1 <= len(title) <= MAX_TITLE:
        raise InvalidInput(f"The title of a collection has 1 to {MAX_TITLE} characters; this one has {len(title)}.")
    return title


def check_text(text: str, what: str, most: int) -> str:
    text = plain_text(text).strip()
    if len(text) > most:
        raise InvalidInput(f"A {what} has at most {most} characters; this one has {len(text)}: shorten it.")
    return text


def check_theme(theme: str) -> str:
    if theme not in THEMES:
        raise InvalidInput(f"There is no theme {theme!r:.40}; use one of {', '.join(THEMES)}.")
    return theme


def owned_by(owner: User | Organization) -> dict[str, User | Organization]:
    return {"owner_organization" if isinstance(owner, Organization) else "owner_user": owner}


def create_collection(
    *, owner: User | Organization, by: User, title: str, description: str = "", is_private: bool = False
) -> Collection:
    """A new collection stands first. Raises Conflict, with the `slug` of the one that has this title already."""
    require(by, "collect", owner)
    title, description = check_title(title), check_text(description, "description", MAX_DESCRIPTION)
    try:
        with transaction.atomic():
            shelf = lock_collections(owner)
            check_title_is_free(shelf, title)
            if len(shelf) >= MAX_COLLECTIONS:
                raise InvalidInput(f"{owner} has {len(shelf)} collections, which is the most; delete one first.")
            made = Collection.objects.create(
                title=title, description=description, is_private=is_private, **owned_by(owner)
            )
            renumber([made, *shelf])
    except IntegrityError:
        raise Conflict(f"{owner} made a collection called {title!r} a moment ago; choose another title.") from None
    return made


def lock_collections(owner: User | Organization) -> list[Collection]:
    """All collections of an owner in their order; nobody else moves them until the transaction ends."""
    holder: Any = Organization if isinstance(owner, Organization) else User
    holder.objects.select_for_update().get(pk=owner.pk)  # the first collection of an owner has no row to lock yet
    rows = Collection.objects.filter(**owned_by(owner)).select_related("owner_user", "owner_organization")
    return list(rows.order_by("position", "-id"))


def check_title_is_free(shelf: list[Collection], title: str, *, besides: Collection | None = None) -> None:
    for other in shelf:
        if other != besides and other.title.lower() == title.lower():
            raise Conflict(f"There is a collection called {title!r} already: {other.slug}", slug=other.slug)


def renumber(rows: list[Any]) -> None:
    """Positions 0, 1, 2 ... in the order given; writes only what has moved."""
    moved = []
    for position, row in enumerate(rows):
        if row.position != position:
            row.position = position
            moved.append(row)
    if moved:
        type(moved[0]).objects.bulk_update(moved, ["position"], batch_size=200)


def move(rows: list[Any], row: Any, position: int, *, seen: set[int]) -> None:
    """Put `row` at `position` among those that the mover sees; what they do not see keeps its neighbour before it."""
    if position < 0:
        raise InvalidInput(f"The position {position} does not exist; the first one is 0.")
    rest = [other for other in rows if other.pk != row.pk]
    shown = [other for other in rest if other.pk in seen]
    place = rest.index(shown[position]) if position < len(shown) else len(rest)
    renumber([*rest[:place], row, *rest[place:]])


@transaction.atomic
def update_collection(
    *,
    collection: Collection,
    by: User,
    title: str | None = None,
    description: str | None = None,
    is_private: bool | None = None,
    theme: str | None = None,
    position: int | None = None,
) -> Collection:
    """Change what is given. Raises Conflict when the owner has another collection of that title."""
    require(by, "collect", collection.owner)
    shelf = lock_collections(collection.owner)
    row = next((other for other in shelf if other.pk == collection.pk), None)
    if row is None:
        raise NotFound(f"There is no collection {collection.slug} any more.")
    if title is not None:
        row.title = check_title(title)
        check_title_is_free(shelf, row.title, besides=row)
    if description is not None:
        row.description = check_text(description, "description", MAX_DESCRIPTION)
    if is_private is not None:
        row.is_private = is_private
    if theme is not None:
        row.theme = check_theme(theme)
    row.updated_at = timezone.now()
    row.save(update_fields=["title", "description", "is_private", "theme", "updated_at"])
    if position is not None:
        move(shelf, row, position, seen={other.pk for other in shelf})
    return row


def delete_collection(*, collection: Collection, by: User) -> None:
    """Its owner's people and moderators may; what stood on the shelf stays where it is."""
    if not can(by, "moderate"):
        require(by, "collect", collection.owner)
    collection.delete()


def find_thing(type: str, name: str, user: Any) -> Repo | Collection:
    """What an item names, if `user` may read it. Raises NotFound, or NotSupported for what this hub has not."""
    if type == "collection":
        namespace, _, slug = name.partition("/")
        return find_collection(namespace, slug, user)
    if type not in Repo.Type.values:
        raise NotSupported(
            f"This hub has no {type[:20]} to collect; add a model, a dataset, a space or another collection."
        )
    return find_repo(type, name, user)


@transaction.atomic
def add_item(*, collection: Collection, by: User, thing: Repo | Collection, note: str = "") -> CollectionItem:
    """Put a repository or a collection, which `by` may read, at the end. Raises Conflict when it stands there already."""
    require(by, "collect", collection.owner)
    note = check_text(note, "note", MAX_NOTE)
    if thing == collection:
        raise InvalidInput("A collection cannot hold itself; add what it should show instead.")
    rows = lock_items(collection)
    if any(row.thing == thing for row in rows):
        raise Conflict(f"This stands in {collection.slug} already.")
    if len(rows) >= MAX_ITEMS:
        raise InvalidInput(f"{collection.slug} holds {len(rows)} items, which is the most; begin another collection.")
    what: dict[str, Any] = {"repo": thing} if isinstance(thing, Repo) else {"inner": thing}
    made = CollectionItem.objects.create(collection=collection, note=note, added_by=by, position=len(rows), **what)
    renumber([*rows, made])
    touch(collection)
    return made


def lock_items(collection: Collection) -> list[CollectionItem]:
    """All items in their order; nobody else moves them until the transaction ends."""
    if Collection.objects.select_for_update().filter(pk=collection.pk).first() is None:
        raise NotFound(f"There is no collection {collection.slug} any more.")
    return list(collection.items.select_related("repo", "inner").order_by("position", "id"))


def touch(collection: Collection) -> None:
    collection.updated_at = timezone.now()
    collection.save(update_fields=["updated_at"])


def take_item(
    collection: Collection, rows: list[CollectionItem], key: str, by: User
) -> tuple[CollectionItem, set[int]]:
    """The item of this key, and the keys of all that `by` sees: what they may not read is not theirs to find."""
    seen = {row.pk for row in visible_items([collection], by)}
    item = next((row for row in rows if row.key == key and row.pk in seen), None)
    if item is None:
        raise NotFound(f"There is no item {key[:40]} in the collection {collection.slug}.")
    return item, seen


@transaction.atomic
def update_item(
    *, collection: Collection, key: str, by: User, note: str | None = None, position: int | None = None
) -> CollectionItem:
    """Change the note, or move the item to `position` among those that `by` sees; an empty note takes it away."""
    require(by, "collect", collection.owner)
    rows = lock_items(collection)
    item, seen = take_item(collection, rows, key, by)
    if note is not None:
        item.note = check_text(note, "note", MAX_NOTE)
        item.save(update_fields=["note"])
    if position is not None:
        move(rows, item, position, seen=seen)
    touch(collection)
    return item


@transaction.atomic
def remove_item(*, collection: Collection, key: str, by: User) -> None:
    require(by, "collect", collection.owner)
    rows = lock_items(collection)
    item, _ = take_item(collection, rows, key, by)
    renumber([row for row in rows if row.pk != item.pk])
    item.delete()
    touch(collection)


@transaction.atomic
def set_upvote(*, collection: Collection, by: User, upvotes: bool) -> int:
    """Vote for a collection that one may read, or take the vote back; twice changes nothing. Returns the number."""
    require(by, "upvote")
    Collection.objects.select_for_update().get(pk=collection.pk)
    if upvotes:
        CollectionUpvote.objects.get_or_create(collection=collection, user=by)
    else:
        CollectionUpvote.objects.filter(collection=collection, user=by).delete()
    collection.upvotes = collection.upvoted_by.count()
    Collection.objects.filter(pk=collection.pk).update(upvotes=collection.upvotes)
    return collection.upvotes
