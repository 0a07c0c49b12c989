"""The entries of a discussion, and what the person who looks may do with them."""

from typing import Any

from django.http import HttpRequest

from hub.accounts.permissions import can
from hub.community.disclosure import told_events
from hub.community.discussions import may_settle
from hub.community.models import Discussion


def describe_rights(request: HttpRequest, discussion: Discussion) -> dict[str, bool]:
    repo = discussion.repo
    is_author = request.user.is_authenticated and discussion.author_id == request.user.pk
    may_write = can(request.user, "write", repo)
    return {
        "may_discuss": can(request.user, "discuss", repo),
        "may_steer": is_author or may_write,
        "may_close": is_author or may_write or may_settle(discussion, request.user),
        "is_maintainer": may_write or can(request.user, "moderate"),
    }


def describe_timeline(request: HttpRequest, discussion: Discussion) -> dict[str, Any]:
    """The entries, and what this person may do with them and with the discussion."""
    events = told_events(discussion, request.user, discussion.events.select_related("author"))
    return {"events": events, **describe_rights(request, discussion)}
