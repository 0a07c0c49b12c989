"""recipe.lock says what weights were made of: the hub writes it, and no door takes another one from a person."""

from hub.common.errors import Forbidden
from hub.repos.models import Content, Repo

LOCK = "recipe.lock"


def check_lock(repo: Repo, digest: str) -> None:
    """Raises Forbidden for a recipe.lock that this model has never held, once the hub has written one for it.

    Before that it is a file like any other: models come from elsewhere with the lock of their own build, and the release
    gate believes none of them. One that was here before comes again with a merge or a revert."""
    known = Content.objects.filter(repo=repo, path=LOCK)
    if repo.type != Repo.Type.MODEL or not known.filter(added_by__is_system=True).exists():
        return
    if not known.filter(digest=digest).exists():
        raise Forbidden(
            f"{LOCK} is written by the hub when it trains; leave yours out, and change recipe.yaml to change what goes in."
        )
