"""No case ages silently: each has a day by which somebody decides it, and who claims one keeps it for a while. What is late
goes to all moderators and to who operates the hub, again each time that it is late by as much as it had."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden
from hub.community.listeners import notify
from moderation import audit
from moderation.cases.queue import LIVE, path_of, why_not_decide
from moderation.models import Case
from moderation.people import moderators

TIME_FOR = {3: timedelta(hours=24), 2: timedelta(hours=72), 1: timedelta(days=7)}  # by severity
CLAIMED_FOR = timedelta(hours=4)


def time_for(case: Case) -> timedelta:
    return TIME_FOR.get(case.severity, TIME_FOR[1])


def due_at(case: Case) -> datetime:
    """By when it is decided: counted from its last escalation, or from when it was opened."""
    return (case.escalated_at or case.opened_at) + time_for(case)


def claimer_of(case: Case, now: datetime) -> User | None:
    """Who has it now; a claim that ran out is none."""
    return case.claimed_by if case.claimed_until is not None and case.claimed_until > now else None


@transaction.atomic
def claim(*, case: Case, by: User, now: datetime | None = None) -> Case:
    """Keep it for four hours, or for four more. Raises Forbidden for who may not decide it, Conflict while another has it."""
    require(by, "moderate")
    now = now or timezone.now()
    row = Case.objects.select_for_update(of=("self",)).select_related("repo", "claimed_by").get(pk=case.pk)
    if problem := why_not_decide(row, by):
        raise Forbidden(problem)
    holder = claimer_of(row, now)
    if holder is not None and holder != by:
        raise Conflict(f"{holder} looks at it until {row.claimed_until:%H:%M} UTC.")
    row.claimed_by, row.claimed_until = by, now + CLAIMED_FOR
    row.save(update_fields=["claimed_by", "claimed_until"])
    return row


def escalate_overdue(now: datetime | None = None) -> int:
    """Tell of every open case that is late, and give it the same time again. Returns how many."""
    now = now or timezone.now()
    rows = Case.objects.filter(LIVE, state=Case.State.OPEN).select_related("repo")
    return sum(escalate(case, now) for case in rows.order_by("pk").iterator(200) if due_at(case) <= now)


@transaction.atomic
def escalate(case: Case, now: datetime) -> bool:
    row = Case.objects.select_for_update(of=("self",)).select_related("repo").get(pk=case.pk)
    if row.state != Case.State.OPEN or due_at(row) > now:
        return False  # decided, or told of, meanwhile
    late = due_at(row)
    row.escalated_at = now
    row.save(update_fields=["escalated_at"])
    audit.record("case.escalated", str(row.repo), case=row.pk, due=late.isoformat())
    operators = User.objects.filter(is_staff=True, is_active=True)
    people: list[Any] = list({user.pk: user for user in [*moderators(), *operators]}.values())
    notify(people, f"Late since {late:%d %B}: {row.title}", path_of(row))
    return True
