"""People with a role of their own in one repository."""

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import RANK, require
from hub.common.errors import InvalidInput
from hub.repos.events import collaborator_changed
from hub.repos.models import Repo, RepoCollaborator


@transaction.atomic
def set_collaborator(*, repo: Repo, user: User, role: str, by: User) -> None:
    """Give a person a role in this repository, or another one."""
    require(by, "admin", repo)
    if role not in RANK:
        raise InvalidInput(f"The role {role!r} does not exist; use one of {', '.join(RANK)}.")
    if user == repo.owner_user:
        raise InvalidInput(f"{user} owns this repository and may do everything already.")
    RepoCollaborator.objects.update_or_create(repo=repo, user=user, defaults={"role": role})
    collaborator_changed.send(Repo, repo=repo, user=user, role=role, by=by)


@transaction.atomic
def remove_collaborator(*, repo: Repo, user: User, by: User) -> None:
    """Somebody who has no role has none afterwards either."""
    require(by, "admin", repo)
    gone, _ = RepoCollaborator.objects.filter(repo=repo, user=user).delete()
    if gone:
        collaborator_changed.send(Repo, repo=repo, user=user, role="", by=by)
