"""The entries of a discussion, and what the person who looks may do with them."""

from typing import Any

from django.http import HttpRequest

from hub.accounts.permissions import can
from hub.community.models import Discussion


def describe_timeline(request: HttpRequest, discussion: Discussion) -> dict[str, Any]:
    """The entries, and what this person may do with them and with the discussion."""
    repo = discussion.repo
    is_maintainer = can(request.user, "write", repo) or can(request.user, "moderate")
    is_author = request.user.is_authenticated and discussion.author_id == request.user.pk
    return {
        "events": list(discussion.events.select_related("author")),
        "may_discuss": can(request.user, "discuss", repo),
        "may_steer": is_author or can(request.user, "write", repo),
        "is_maintainer": is_maintainer,
    }
