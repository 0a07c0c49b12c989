"""Finding a repository for a person: any case, former names, and private ones that look missing."""

from typing import Any

from django.db.models import Value
from django.db.models.functions import Lower

from hub.accounts.models import Namespace
from hub.accounts.permissions import can, require
from hub.common.errors import RepoNotFound
from hub.repos.models import Repo, RepoAlias


def find_owner(name: str) -> dict[str, Any] | None:
    """owner_user_id and owner_organization_id, one of them None, of whoever has or had this name in any case."""
    # As the index spells it: SQLite reads the whole table for `iexact`.
    names = Namespace.objects.alias(folded=Lower("name")).filter(folded=Lower(Value(name)))
    found = names.values_list("user_id", "organization_id").order_by().first()
    return {"owner_user_id": found[0], "owner_organization_id": found[1]} if found and any(found) else None


def lookup(type: str, full_name: str) -> Repo | None:
    """The repository of a present or former name, without any rule applied."""
    owner_name, _, name = full_name.partition("/")
    if not name or "/" in name:
        return None
    owner = find_owner(owner_name)
    if owner is not None:
        # Of the two columns only the one that is set has an index over the names.
        column, key = next((column, key) for column, key in owner.items() if key is not None)
        repos = Repo.objects.for_listing().filter(type=type, **{column: key}).order_by()
        repo = repos.alias(folded=Lower("name")).filter(folded=Lower(Value(name))).first()
        if repo is not None:
            return repo
    aliases = RepoAlias.objects.alias(folded=Lower("full_name")).filter(type=type, folded=Lower(Value(full_name)))
    alias = aliases.first()
    return Repo.objects.for_listing().get(pk=alias.repo_id) if alias else None


def find_repo(type: str, full_name: str, user: Any, *, action: str = "read") -> Repo:
    """The repository if `user` may do `action` with it. Raises RepoNotFound, NotSignedIn or Forbidden."""
    repo = lookup(type, full_name)
    if repo is None or not can(user, "read", repo):
        raise RepoNotFound(f"There is no {type} repository {full_name} here, or it is private and you are no member.")
    require(user, action, repo)
    return repo
