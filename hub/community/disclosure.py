"""What a stranger is told of a proposal whose files are not cleared: its state, but no word that was made from them."""

from collections.abc import Iterable
from typing import Any

from hub.community.models import Check, Discussion, Event, PullRequest
from hub.community.pull_requests import UNTOLD, may_see_inside


def told_checks(pull_request: PullRequest, user: Any) -> list[Check]:
    """Its checks. A summary may quote the recipe, so it waits until the files are cleared."""
    checks = list(pull_request.checks.all())
    if checks and not may_see_inside(pull_request, user):
        for check in checks:
            check.summary, check.evidence = UNTOLD, {}
    return checks


def told_events(discussion: Discussion, user: Any, events: Iterable[Event]) -> list[Event]:
    """Entries of its timeline; those of checks and commits likewise. What people say stands as they said it, and what was
    hidden is told to nobody, by no door."""
    events = list(events)
    for event in events:
        if event.data.get("hidden"):
            event.data = {**event.data, "text": ""}
    derived = [event for event in events if event.kind in ("check", "commit")]
    if derived and discussion.is_pull_request and not may_see_inside(discussion.pull_request, user):
        for event in derived:
            key = "summary" if event.kind == "check" else "subject"
            event.data = {**event.data, key: UNTOLD if event.kind == "check" else ""}
    return events
