"""Repositories begin, change their name or settings, and end."""

from collections.abc import Callable, Iterable
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.accounts.names import check_name, find_owner
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.repos.cards import refresh_card
from hub.repos.clearance import note_publication
from hub.repos.commits import author_of, register_commits
from hub.repos.events import repo_changed, repo_created, repo_deleting, repo_moved
from hub.repos.find import lookup
from hub.repos.models import GATES, PendingWrite, Repo, RepoAlias
from hub.repos.places import pair
from hub.repos.publication import publish
from hub.repos.quotas import check_owner_room
from hub.storage.git import AddFile, GitRepo

MAX_DESCRIPTION_CHARACTERS = 300
# What every git client with git-lfs needs to know; the same patterns decide in hub.community.contributions.
LARGE_PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx *.ot "
    "*.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors *.tar *.tar.* *.tflite *.tgz *.wasm *.xz *.zip "
    "*.zst *.gguf *.jpg *.jpeg *.png *.gif *.webp *.pdf *.mp3 *.wav *.flac *.mp4 *tfevents*"
).split()
GIT_ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE_PATTERNS)


def owner_for(name: str | None, by: User) -> User | Organization:
    """The namespace to create in; the person's own when none is named. Raises Forbidden when it is not theirs."""
    if not name or name.lower() == by.username.lower():
        return by
    try:
        owner = find_owner(name)
    except NotFound:
        raise Forbidden(
            f"You don't have the rights to create a repository under the namespace {name!r}: it does not exist here."
        ) from None
    if not isinstance(owner, Organization) and owner.pk != by.pk:
        raise Forbidden(f"You don't have the rights to create a repository under the namespace {name!r}.")
    return owner


def create_repo(
    *,
    type: str,
    name: str,
    by: User,
    owner: User | Organization | None = None,
    is_private: bool | None = None,
    description: str = "",
) -> Repo:
    """An empty repository with one first commit. Raises Conflict (with `url_path`) when it exists."""

    def fill(members: GitRepo) -> str:
        operations = [AddFile(".gitattributes", GIT_ATTRIBUTES.encode())]
        ref = f"refs/heads/{Repo().default_branch}"
        return members.commit(ref, operations, author=author_of(by), message="initial commit")

    return start_repo(
        type=type, name=name, by=by, owner=owner, is_private=is_private, description=description, fill=fill
    )


def start_repo(
    *,
    type: str,
    name: str,
    by: User,
    owner: User | Organization | None,
    is_private: bool | None,
    description: str,
    fill: Callable[[GitRepo], str],
    gated: str = "",
    others: Iterable[str] = (),
) -> Repo:
    """A repository whose git folder `fill` makes ready; it returns the head of the main branch. `others` are more
    references that it makes: a note of each waits for who registers them, or for `reconcile`."""
    owner = owner or by
    if type not in Repo.Type.values:
        raise InvalidInput(f"The repository type {type!r} does not exist; use model, dataset or space.")
    check_name(name, reserved_ok=True)
    if not by.is_system:  # the hub itself makes what a room above decided
        require(by, "create_repo", owner)
    existing = lookup(type, f"{owner.name}/{name}")
    if existing is not None:
        raise Conflict(f"You already created this {type} repo: {existing.full_name}", url_path=existing.path)
    if is_private is None:
        is_private = isinstance(owner, Organization) and owner.is_private_by_default
    holder = {"owner_organization": owner} if isinstance(owner, Organization) else {"owner_user": owner}
    description = description[:MAX_DESCRIPTION_CHARACTERS]
    repo = Repo(type=type, name=name, is_private=is_private, description=description, gated=gated, **holder)
    both = pair(repo)
    both.create()
    first = fill(both.members)  # before the row: whoever finds the row finds a branch to commit to
    try:
        with transaction.atomic():
            repo.save()
            note = note_publication(repo, by=by)
            PendingWrite.objects.bulk_create(PendingWrite(repo=repo, ref=ref, by=by, door="hub") for ref in others)
    except IntegrityError:
        both.remove()
        raise Conflict(f"You already created this {type} repo: {owner.name}/{name}") from None
    register_commits(repo=repo, ref=note.ref, old=None, new=first, by=by, door="hub")
    note.delete()
    repo.refresh_from_db()
    repo_created.send(Repo, repo=repo)
    return repo


def move_repo(*, repo: Repo, to: str, by: User) -> Repo:
    """Rename or hand over; the old name keeps leading here."""
    require(by, "admin", repo)
    owner_name, _, name = to.partition("/")
    check_name(name, reserved_ok=True)
    owner = owner_for(owner_name, by)
    require(by, "create_repo", owner)
    other = lookup(repo.type, to)
    if other is not None and other.pk != repo.pk:
        raise Conflict(f"A {repo.type} repository called {to} already exists; choose another name.")
    if owner != repo.owner:
        check_owner_room(repo, owner)
    try:
        with transaction.atomic():
            former = {"name": repo.full_name, "user": repo.owner_user_id, "organization": repo.owner_organization_id}
            rename(repo, owner, name)
            if former["name"] != repo.full_name:
                repo_moved.send(Repo, repo=repo, former=former, by=by)
    except IntegrityError:
        raise Conflict(f"A {repo.type} repository called {to} was made a moment ago; choose another name.") from None
    return repo


def rename(repo: Repo, owner: User | Organization, name: str) -> None:
    old_name = repo.full_name
    repo.owner_organization = owner if isinstance(owner, Organization) else None
    repo.owner_user = None if isinstance(owner, Organization) else owner
    repo.name = name
    repo.save(
        update_fields=["owner_organization", "owner_user", "name"]
    )  # others count numbers and move heads meanwhile
    RepoAlias.objects.filter(type=repo.type, full_name__iexact=repo.full_name).delete()
    if old_name.lower() != repo.full_name.lower():
        RepoAlias.objects.update_or_create(
            type=repo.type, full_name__iexact=old_name, defaults={"full_name": old_name, "repo": repo}
        )


def update_settings(*, repo: Repo, by: User, **changes: Any) -> Repo:
    """Change is_private, description or gated. Making a repository private takes its public half away at once."""
    require(by, "admin", repo)
    allowed = {"is_private", "description", "gated"}
    unknown = set(changes) - allowed
    if unknown:
        raise InvalidInput(
            f"The setting {sorted(unknown)[0]!r} does not exist; known are {', '.join(sorted(allowed))}."
        )
    if repo.public_releases.exists() and changes.get("is_private"):
        raise InvalidInput(f"{repo.full_name} has published releases, which stay public; yank them first.")
    if repo.is_policy and (changes.get("is_private") or changes.get("gated")):
        raise InvalidInput(f"{repo.full_name} holds the rules of this hub, which everybody may read; leave it public.")
    if changes.get("gated", "") not in ("", *GATES):
        raise InvalidInput(f"'gated' is {changes['gated']!r}; it can be 'auto', 'manual' or false.")
    if len(changes.get("description", "")) > MAX_DESCRIPTION_CHARACTERS:
        raise InvalidInput(f"A description has at most {MAX_DESCRIPTION_CHARACTERS} characters; shorten it.")
    for key, value in changes.items():
        setattr(repo, key, value)
    repo.updated_at = timezone.now()
    with transaction.atomic():
        repo.save(update_fields=[*changes, "updated_at"])
        note = note_publication(repo, by=by) if "is_private" in changes else None
        if changes:
            repo_changed.send(Repo, repo=repo, changes=[name.removeprefix("is_") for name in changes], by=by)
    if note is not None:
        publish(repo, is_withdrawal=bool(changes["is_private"]))
        note.delete()
        refresh_card(repo)  # another half of the repository may be the one that people see now
    return repo


def keep_for_release(repo: Repo) -> None:
    """From now on strangers see releases, and what was public before; the gate reserves the v* tags. Idempotent.

    Called before weights made here reach the main branch, so that they are never public ahead of their release."""
    if repo.shows == Repo.Shows.RELEASES:
        return
    repo.shows, repo.has_release_policy, repo.public_floor = Repo.Shows.RELEASES, True, repo.public_head
    repo.save(update_fields=["shows", "has_release_policy", "public_floor"])


def delete_repo(*, repo: Repo, by: User) -> None:
    """From now on it looks missing to everybody and its name is free; hub.repos.deleted brings it back or ends it."""
    require(by, "admin", repo)
    if repo.is_policy:
        raise Forbidden(f"{repo.full_name} holds the rules of this hub, which verdicts name; it cannot be deleted.")
    if repo.public_releases.exists():
        raise Conflict(f"{repo.full_name} has published releases and cannot be deleted; yank the releases instead.")
    with transaction.atomic():
        if not Repo.objects.select_for_update().filter(pk=repo.pk).exists():
            raise NotFound(f"{repo.full_name} was deleted a moment ago.")
        repo_deleting.send(Repo, repo=repo, by=by)
        repo.deleted_at, repo.deleted_by = timezone.now(), by
        repo.save(update_fields=["deleted_at", "deleted_by"])


def discard_repo(repo: Repo, *, by: User) -> None:
    """Take a repository back that did not come to be whole: at once and for good."""
    both = pair(repo)
    with transaction.atomic():
        Repo.objects.select_for_update().filter(pk=repo.pk).first()  # what would belong to it waits, and fails
        repo_deleting.send(Repo, repo=repo, by=by)
        repo.delete()
        transaction.on_commit(both.remove)
