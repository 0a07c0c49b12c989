"""What nobody would do otherwise: jobs of silent workers are taken over, forgotten ones woken, housekeeping queued."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import DurationField, ExpressionWrapper, F, Q, Value
from django.utils import timezone

from hub.common.jobs.ending import release_or_fail
from hub.common.jobs.kinds import bodies
from hub.common.jobs.queueing import count_messages, enqueue, wake
from hub.common.jobs.telling import note
from hub.common.jobs.working import drop_old_connections
from hub.common.models import Job

log = logging.getLogger(__name__)

WAKE_AGAIN_S = 20  # a waiting job is announced again when its queue at the broker is empty: then its message is lost
WAKE_ANYWAY_S = 600  # where the queue never empties; the pause doubles, so that hours of waiting leave a few messages
MOST_WOKEN = 200  # by one sweep, of each queue
GIVE_UP_S = 600  # a job that is over, but whose end could not be told for so long, ends without its listener


def sweep(*, now: datetime | None = None) -> None:
    """Wake forgotten jobs and take over those whose worker is silent. Safe to run anywhere, any number of times."""
    now = now or timezone.now()
    drop_old_connections()
    for pk in list(Job.objects.filter(state=Job.State.RUNNING, lease_until__lt=now).values_list("pk", flat=True)):
        try:
            take_from_silent_worker(pk, now)
        except Exception as problem:  # the end of one job must not keep the others asleep
            log.exception("Job %s could not be taken from its silent worker", pk)
            end_untold(pk, now, problem)
    queue_housekeeping(now)
    for job in find_unheard(now):
        wake(job, now=now)


def find_unheard(now: datetime) -> list[Job]:
    """Waiting jobs that no message at the broker stands for, the oldest of each queue first.

    A job that waits behind a long one has its message; to send it again every few seconds would fill the broker."""
    waiting = Job.objects.filter(Q(not_before__isnull=True) | Q(not_before__lte=now), state=Job.State.WAITING)
    silent = ExpressionWrapper(Value(now) - F("woken_at"), output_field=DurationField())
    waited = ExpressionWrapper(F("woken_at") - F("created_at"), output_field=DurationField())
    found: list[Job] = []
    for queue in waiting.order_by().values_list("queue", flat=True).distinct():
        stale = Q(woken_at__lt=now - timedelta(seconds=WAKE_AGAIN_S))
        if count_messages(queue):
            stale = Q(woken_at__lt=now - timedelta(seconds=WAKE_ANYWAY_S), silent__gt=F("waited"))
        unheard = Q(woken_at__isnull=True) | Q(not_before__gt=F("woken_at")) | stale
        rows = waiting.filter(queue=queue).annotate(silent=silent, waited=waited).filter(unheard)
        found += rows.order_by("created_at")[:MOST_WOKEN]
    return found


@transaction.atomic
def take_from_silent_worker(pk: Any, now: datetime) -> None:
    row = Job.objects.select_for_update().filter(pk=pk).first()
    if row and row.state == Job.State.RUNNING and row.lease_until and row.lease_until < now:
        release_or_fail(row, "Its worker was not heard of any more.", now=now)


@transaction.atomic
def end_untold(pk: Any, now: datetime, problem: Exception) -> None:
    """No eternal "Running": after a while a job ends even where what listens to its end breaks each time."""
    row = Job.objects.select_for_update().filter(pk=pk, state=Job.State.RUNNING).first()
    is_long_over = row and row.lease_until and row.lease_until < now - timedelta(seconds=GIVE_UP_S)
    if row is None or not is_long_over or isinstance(problem, DatabaseError):  # a busy database is no broken listener
        return
    row.state, row.finished_at, row.lease_until = Job.State.FAILED, now, None
    row.reason = (
        "Its worker was not heard of any more, and what follows its end broke in the hub itself; the hub's log tells more "
        f"under job {pk}."
    )
    row.save()
    note(row, "state", state=row.state, reason=row.reason)


def queue_housekeeping(now: datetime) -> None:
    """One job of each kind that is due. Their old rows go, but for a last one that failed."""
    for body in [body for body in bodies.values() if body.every_s is not None]:
        rows = Job.objects.filter(kind=body.kind)
        newest = rows.order_by("-created_at").first()
        if newest and not (newest.has_ended and newest.created_at <= now - timedelta(seconds=body.every_s or 0)):
            continue
        keep = newest.pk if newest and newest.state == Job.State.FAILED else None
        rows.filter(state__in=Job.ENDED).exclude(pk=keep).delete()
        enqueue(body.kind, subject="housekeeping")
