"""Repositories begin, change their name or settings, and end."""

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.accounts.names import check_name, find_owner
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.repos.commits import create_commit
from hub.repos.events import repo_created
from hub.repos.find import lookup
from hub.repos.models import Repo, RepoAlias
from hub.repos.places import pair
from hub.repos.publication import publish
from hub.storage.git import AddFile

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
    owner = owner or by
    if type not in Repo.Type.values:
        raise InvalidInput(f"The repository type {type!r} does not exist; use model, dataset or space.")
    check_name(name, reserved_ok=True)
    require(by, "create_repo", owner)
    existing = lookup(type, f"{owner.name}/{name}")
    if existing is not None:
        raise Conflict(f"You already created this {type} repo: {existing.full_name}", url_path=existing.path)
    if is_private is None:
        is_private = isinstance(owner, Organization) and owner.is_private_by_default
    holder = {"owner_organization": owner} if isinstance(owner, Organization) else {"owner_user": owner}
    repo = Repo(type=type, name=name, is_private=is_private, description=description[:300], **holder)
    pair(repo).create()  # before the row: whoever finds the row finds its folder
    try:
        with transaction.atomic():
            repo.save()
    except IntegrityError:
        pair(repo).remove()
        raise Conflict(f"You already created this {type} repo: {owner.name}/{name}") from None
    create_commit(
        repo=repo,
        by=by,
        ref=f"refs/heads/{repo.default_branch}",
        operations=[AddFile(".gitattributes", GIT_ATTRIBUTES.encode())],
        title="initial commit",
        door="hub",
    )
    repo.refresh_from_db()
    repo_created.send(Repo, repo=repo)
    return repo


@transaction.atomic
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
    old_name = repo.full_name
    is_organization = isinstance(owner, Organization)
    repo.owner_organization = owner if isinstance(owner, Organization) else None
    repo.owner_user = None if is_organization else owner  # type: ignore[assignment]
    repo.name = name
    repo.save()
    RepoAlias.objects.filter(type=repo.type, full_name__iexact=repo.full_name).delete()
    if old_name.lower() != repo.full_name.lower():
        RepoAlias.objects.update_or_create(
            type=repo.type, full_name__iexact=old_name, defaults={"full_name": old_name, "repo": repo}
        )
    return repo


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
    for key, value in changes.items():
        setattr(repo, key, value)
    repo.updated_at = timezone.now()
    repo.save(update_fields=[*changes, "updated_at"])
    if "is_private" in changes:
        publish(repo, is_withdrawal=bool(changes["is_private"]))
    return repo


def keep_for_release(repo: Repo) -> None:
    """From now on strangers see releases, and what was public before; the gate reserves the v* tags. Idempotent.

    Called before weights made here reach the main branch, so that they are never public ahead of their release."""
    if repo.shows == Repo.Shows.RELEASES:
        return
    repo.shows, repo.has_release_policy, repo.public_floor = Repo.Shows.RELEASES, True, repo.public_head
    repo.save(update_fields=["shows", "has_release_policy", "public_floor"])


def delete_repo(*, repo: Repo, by: User) -> None:
    """Remove the repository. Its rows go at once; bytes are collected later, when nothing refers to them."""
    require(by, "admin", repo)
    if repo.public_releases.exists():
        raise Forbidden(f"{repo.full_name} has published releases and cannot be deleted; yank the releases instead.")
    both = pair(repo)
    with transaction.atomic():
        repo.delete()
        transaction.on_commit(both.remove)
