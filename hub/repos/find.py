"""Finding a repository for a person: any case, former names, and private ones that look missing."""

from typing import Any

from hub.accounts.models import Namespace
from hub.accounts.permissions import can, require
from hub.common.errors import RepoNotFound
from hub.repos.models import Repo, RepoAlias


def lookup(type: str, full_name: str) -> Repo | None:
    """The repository of a present or former name, without any rule applied."""
    owner_name, _, name = full_name.partition("/")
    if not name or "/" in name:
        return None
    names = Namespace.objects.filter(name__iexact=owner_name).values("user_id", "organization_id").first()
    repos = Repo.objects.for_listing().filter(type=type, name__iexact=name)
    if names is not None:
        repo = repos.filter(owner_user_id=names["user_id"], owner_organization_id=names["organization_id"]).first()
        if repo is not None:
            return repo
    alias = RepoAlias.objects.filter(type=type, full_name__iexact=full_name).first()
    return Repo.objects.for_listing().get(pk=alias.repo_id) if alias else None


def find_repo(type: str, full_name: str, user: Any, *, action: str = "read") -> Repo:
    """The repository if `user` may do `action` with it. Raises RepoNotFound, NotSignedIn or Forbidden."""
    repo = lookup(type, full_name)
    if repo is None or not can(user, "read", repo):
        raise RepoNotFound(f"There is no {type} repository {full_name} here, or it is private and you are no member.")
    require(user, action, repo)
    return repo
