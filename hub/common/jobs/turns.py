"""Whose turn it is: a message wakes a worker for a queue, and the worker takes the fairest job of it, not the one that the
message was sent for. There is a message for each job, so each is reached."""

from collections import Counter
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet

from hub.common.jobs.lease import Lease, claim
from hub.common.models import Job

MOST_LOOKED_AT = 2000  # waiting jobs of a queue, for a page that says how many come before one of them


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


def list_ahead(job: Job) -> QuerySet[Job]:
    """What is at work in the queue of a waiting job, and what waits and comes before it as things stand, so that a page
    can count it. Who was served last is not looked at: among people with as much at work, the older job is taken for first."""
    queue = Job.objects.filter(queue=job.queue).exclude(pk=job.pk)
    ahead = Q(state=Job.State.WAITING, created_at__lt=job.created_at)
    if job.charged_to_id is not None:
        ahead = Q(state=Job.State.WAITING, pk__in=find_earlier_turns(job))
    return queue.filter(ahead | Q(state=Job.State.RUNNING))


def find_earlier_turns(job: Job) -> list[Any]:
    """Ids of waiting jobs before this one of a person. A person's first waiting job is in the round that has the number of
    those at work, the second in the next; rounds go by in order, and nobody's jobs by their age."""
    queue = Job.objects.filter(queue=job.queue)
    rounds: Counter[int | None] = Counter(queue.filter(state=Job.State.RUNNING).values_list("charged_to", flat=True))
    waiting = queue.filter(state=Job.State.WAITING).order_by("created_at", "pk")
    turns: dict[Any, tuple[int, datetime]] = {}
    nobodys: list[Any] = []
    for pk, person, created_at in waiting.values_list("pk", "charged_to", "created_at")[:MOST_LOOKED_AT]:
        if person is not None:
            turns[pk] = (rounds[person], created_at)
            rounds[person] += 1
        elif created_at < job.created_at:
            nobodys.append(pk)
    mine = turns.get(job.pk, (rounds[job.charged_to_id], job.created_at))
    return [*nobodys, *(pk for pk, turn in turns.items() if turn < mine)]
