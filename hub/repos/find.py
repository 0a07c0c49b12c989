"""Finding a repository for a person: any case, former names, and private ones that look missing."""

from typing import Any

from django.db.models import Value
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from hub.accounts.models import Namespace
from hub.accounts.permissions import can, refuse_reading, require
from hub.common.errors import RepoNotFound
from hub.common.prepared import Prepared
from hub.repos.models import Repo, RepoAlias


def with_name(field: str, value: Any) -> Any:
    """A filter by a name in any case, as the index spells it: SQLite reads the whole table for `iexact`."""
    return Exact(Lower(field), Lower(Value(value)))


NAMES = Prepared(lambda name: Namespace.objects.filter(with_name("name", name)), str)
# Of the two columns of an owner only the one that is set has an index over the names.
REPOS = {
    column: Prepared(
        lambda type, owner, name, column=column: Repo.objects.for_listing()
        .filter(with_name("name", name), type=type, **{column: owner})
        .order_by(),
        str, int, str,
    )
    for column in ("owner_user_id", "owner_organization_id")
}  # fmt: skip


def find_owner(name: str) -> dict[str, Any] | None:
    """owner_user_id and owner_organization_id, one of them None, of whoever has or had this name in any case."""
    found = NAMES.first(name)
    if found is None or not (found.user_id or found.organization_id):
        return None
    return {"owner_user_id": found.user_id, "owner_organization_id": found.organization_id}


def lookup(type: str, full_name: str) -> Repo | None:
    """The repository of a present or former name, without any rule applied."""
    owner_name, _, name = full_name.partition("/")
    if not name or "/" in name:
        return None
    owner = find_owner(owner_name)
    if owner is not None:
        column, key = next((column, key) for column, key in owner.items() if key is not None)
        repo = REPOS[column].first(type, key, name)
        if repo is not None:
            return repo
    aliases = RepoAlias.objects.filter(with_name("full_name", full_name), type=type)
    alias = aliases.filter(repo__deleted_at__isnull=True).first()
    return Repo.objects.for_listing().get(pk=alias.repo_id) if alias else None


def find_repo(type: str, full_name: str, user: Any, *, action: str = "read") -> Repo:
    """The repository if `user` may do `action` with it. Raises RepoNotFound, NotSignedIn or Forbidden."""
    repo = lookup(type, full_name)
    if repo is not None and not can(user, "read", repo):
        raise refuse_reading(repo)
    if repo is None:
        raise RepoNotFound(f"There is no {type} repository {full_name} here, or it is private and you are no member.")
    require(user, action, repo)
    return repo
