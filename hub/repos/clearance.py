"""Writing the facts of clearance. moderation decides; this room keeps the fact and brings the public half in line."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.events import clearance_changed
from hub.repos.models import Content, PendingWrite, Repo
from hub.repos.publication import SQL_BATCH, publish

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    content: Content
    clearance: str
    reason: str = ""


def decide(repo: Repo, decisions: Iterable[Decision], *, publish_now: bool = True) -> None:
    """Write decisions about contents of one repository, then publish or withdraw what follows from them.

    `publish_now=False` is for the screens within a commit, which publishes right after them."""
    decisions = list(decisions)
    if not decisions:
        return
    withdrawn = False
    with transaction.atomic():
        for start in range(0, len(decisions), SQL_BATCH):
            withdrawn |= write(decisions[start : start + SQL_BATCH])
        note = note_publication(repo) if publish_now or withdrawn else None
    if note is not None:
        publish(repo, is_withdrawal=withdrawn)
        note.delete()
    tell(repo, [decision.content for decision in decisions])


def tell(repo: Repo, contents: list[Content]) -> None:
    """The decision stands, whatever becomes of a listener."""
    for receiver, answer in clearance_changed.send_robust(Repo, repo=repo, contents=contents):
        if isinstance(answer, Exception):
            log.error("A listener of a decision failed: %s", receiver, exc_info=answer)


def write(decisions: list[Decision]) -> bool:
    """Whether any of them takes back a clearance."""
    now = timezone.now()
    keys = [decision.content.pk for decision in decisions]
    locked = Content.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    before = dict(locked.values_list("pk", "clearance"))
    withdrawn = False
    same: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for decision in decisions:
        content = decision.content
        if content.pk not in before:
            continue  # its repository was deleted meanwhile
        was_cleared = before[content.pk] == Content.Clearance.CLEARED
        withdrawn |= was_cleared and decision.clearance != Content.Clearance.CLEARED
        content.clearance, content.reason = decision.clearance, decision.reason
        same[content.clearance, content.reason].append(content.pk)
    # Most contents of a commit get the same decision: a statement for each decision, not a case for each row.
    for (clearance, reason), pks in same.items():
        Content.objects.filter(pk__in=pks).update(clearance=clearance, reason=reason, decided_at=now)
    return withdrawn


def note_publication(repo: Repo, *, by: User | None = None) -> PendingWrite:
    """Remember that the public half has to follow: a crash before it did is mended by `reconcile`."""
    return PendingWrite.objects.create(repo=repo, ref=f"refs/heads/{repo.default_branch}", by=by, door="hub")


def set_clearance(*, contents: Iterable[Content], clearance: str, reason: str = "") -> None:
    """The same decision for several contents of one repository."""
    decisions = [Decision(content, clearance, reason) for content in contents]
    if decisions:
        decide(decisions[0].content.repo, decisions)
