"""Following: anybody signed in may follow a person or an organization; who follows whom is public."""

from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from hub.accounts.models import Organization, User
from hub.accounts.permissions import require
from hub.common.errors import InvalidInput, NotFound
from hub.community.events import followed
from hub.community.social_models import Follow


def towards(owner: User | Organization) -> dict[str, User | Organization]:
    return {"organization" if isinstance(owner, Organization) else "person": owner}


@transaction.atomic
def set_follow(*, owner: User | Organization, by: User, follows: bool) -> None:
    """Follow or stop; doing so twice changes nothing. Raises InvalidInput for oneself, NotFound for who is not here."""
    require(by, "follow")
    if isinstance(owner, User) and owner.pk == by.pk:
        raise InvalidInput("You cannot follow yourself.")
    if not follows:
        Follow.objects.filter(follower=by, **towards(owner)).delete()
        return
    if isinstance(owner, User) and (owner.is_system or not owner.is_active):
        raise NotFound(f"There is no person named {owner.name!r} here to follow.")
    follow, made = Follow.objects.get_or_create(follower=by, **towards(owner))
    if made:
        followed.send(Follow, follow=follow)


def is_following(user: Any, owner: User | Organization) -> bool:
    return bool(user.is_authenticated) and Follow.objects.filter(follower=user, **towards(owner)).exists()


def followers_of(owner: User | Organization) -> QuerySet[User]:
    """The newest first; accounts that are switched off do not count."""
    rows = User.objects.filter(is_active=True)
    if isinstance(owner, Organization):
        return rows.filter(follows__organization=owner).order_by("-follows__id")
    return rows.filter(follows__person=owner).order_by("-follows__id")


def following_of(user: User) -> QuerySet[User]:
    """The people whom `user` follows, the newest first."""
    return User.objects.filter(is_active=True, followed_by__follower=user).order_by("-followed_by__id")


def count_follows(user: User) -> dict[str, int]:
    """{"numFollowers", "numFollowing"} of a person, as `followers_of` and `following_of` list them."""
    return Follow.objects.filter(Q(person=user) | Q(follower=user)).aggregate(
        numFollowers=Count("pk", filter=Q(person=user, follower__is_active=True)),
        numFollowing=Count("pk", filter=Q(follower=user, person__is_active=True)),
    )
