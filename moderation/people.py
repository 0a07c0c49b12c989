"""Whom a judgement concerns: maintainers of a repository, moderators, contributors."""

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from hub.accounts.models import Membership, User
from hub.repos.models import Repo, RepoCollaborator

WRITING = ("write", "admin")  # roles that may change a repository


def moderators() -> QuerySet[User]:
    return User.objects.filter(is_moderator=True, is_active=True)


def maintainers_of(repo: Repo) -> list[User]:
    """People with write access: the owner, collaborators, and writing members of the owning organization."""
    keys = set(repo.collaborators.filter(role__in=WRITING).values_list("user_id", flat=True))
    if repo.owner_user_id is not None:
        keys.add(repo.owner_user_id)
    if repo.owner_organization is not None:
        members = repo.owner_organization.memberships.filter(role__in=WRITING)
        keys |= set(members.values_list("user_id", flat=True))
    return list(User.objects.filter(pk__in=keys, is_active=True))


def maintained_by(user: User) -> QuerySet[Repo]:
    """Where this person has write access: the other way round."""
    organizations = Membership.objects.filter(user=user, role__in=WRITING).values("organization")
    collaborated = RepoCollaborator.objects.filter(user=user, role__in=WRITING).values("repo")
    return Repo.objects.filter(Q(owner_user=user) | Q(owner_organization__in=organizations) | Q(pk__in=collaborated))


def people_named(names: Iterable[str]) -> list[User]:
    return list(User.objects.filter(username__in=list(names)[:500], is_active=True))
