"""Likes: one for each person and repository; the repository's number follows the rows."""

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.community.models import Like
from hub.repos.models import Repo


@transaction.atomic
def set_like(*, repo: Repo, by: User, likes: bool) -> int:
    """Like or take it back; doing so twice changes nothing. Returns the number of likes."""
    require(by, "like", repo)
    if likes:
        Like.objects.get_or_create(repo=repo, user=by)
    else:
        Like.objects.filter(repo=repo, user=by).delete()
    count = repo.liked_by.count()
    Repo.objects.filter(pk=repo.pk).update(likes=count)
    repo.likes = count
    return count
