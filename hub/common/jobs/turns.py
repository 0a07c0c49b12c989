"""Whose turn it is: a message wakes a worker for a queue, and the worker takes the fairest job of it, not the one that the
message was sent for. There is a message for each job, so each is reached."""

from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet

from hub.common.jobs.lease import Lease, claim
from hub.common.models import Job


def claim_next(queue: str, *, now: datetime) -> Lease | None:
    """Take the job whose turn it is, or None where nothing of this queue waits.

    Of the people who wait, that is who has the fewest jobs at work, then who was served longest ago, then who waits longest;
    of theirs the oldest. Jobs of nobody keep their order: each goes before all that was queued after it.

    Four queries before the claim, however many wait."""
    waiting = Job.objects.filter(
        Q(not_before__isnull=True) | Q(not_before__lte=now), queue=queue, state=Job.State.WAITING
    ).order_by()
    # Whoever loses a job to a quicker worker looks again, until none is left.
    while oldest := dict(waiting.values_list("charged_to").annotate(Min("created_at"))):
        person = choose_person(queue, oldest)
        lease = claim_oldest(waiting.filter(charged_to=person), now)
        if lease is not None:
            return lease
    return None


def choose_person(queue: str, oldest: dict[Any, datetime]) -> Any:
    """The id of a person, or None for nobody's job. `oldest`: when the first of each one's waiting jobs was queued."""
    people = [person for person in oldest if person is not None]
    first = people[0] if people else None
    if len(people) > 1:
        rows = Job.objects.filter(queue=queue, charged_to__in=people).order_by()
        at_work = dict(rows.filter(state=Job.State.RUNNING).values_list("charged_to").annotate(Count("pk")))
        served = dict(rows.filter(started_at__isnull=False).values_list("charged_to").annotate(Max("started_at")))
        first = min(
            people,
            key=lambda person: (
                at_work.get(person, 0),
                served[person].timestamp() if person in served else 0.0,
                oldest[person],
            ),
        )
    if None in oldest and (first is None or oldest[None] <= oldest[first]):
        return None
    return first


def claim_oldest(rows: QuerySet[Job], now: datetime) -> Lease | None:
    pk = rows.order_by("created_at", "pk").values_list("pk", flat=True).first()
    return claim(str(pk), now=now) if pk is not None else None
