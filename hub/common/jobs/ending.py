"""How a job ends: well, with a sentence, on request, or given back for another attempt."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.common.jobs.kinds import JobLost, bodies
from hub.common.jobs.lease import Lease
from hub.common.jobs.telling import job_changed, note
from hub.common.models import Job

log = logging.getLogger(__name__)


def finish(lease: Lease, state: str, reason: str) -> None:
    """End the job if it is still ours."""
    try:
        with lease.hold() as row:
            if state == Job.State.CANCELLED and row.reason:
                reason = row.reason
            row.worked_s = (timezone.now() - row.started_at).total_seconds() if row.started_at else 0.0
            end(row, state, reason)
    except JobLost:
        log.warning("Job %s was taken over before it ended.", lease.job.pk)


def give_back(lease: Lease, reason: str, *, pause_s: float = 0) -> None:
    """Let another attempt try, or fail when the attempts are used up. Infrastructure, not the person, is at fault."""
    try:
        with lease.hold() as row:
            release_or_fail(row, reason, now=timezone.now(), pause_s=pause_s)
    except JobLost:
        return


def release_or_fail(row: Job, reason: str, *, now: datetime, pause_s: float = 0) -> None:
    if row.cancel_requested:
        end(row, Job.State.CANCELLED, row.reason or "Cancelled on request.")
    elif row.attempt >= row.max_attempts:
        end(row, Job.State.FAILED, f"{reason} It was tried {row.attempt} times; re-run it when the cause is mended.")
    else:
        row.state = Job.State.WAITING
        row.reason = f"{reason} It is tried again."
        row.lease_until = None
        row.not_before = now + timedelta(seconds=max(pause_s, min(2**row.attempt, 60)))
        row.fencing += 1  # whoever still works on it has lost it
        row.save()
        note(row, "state", state=row.state, reason=row.reason)
        job_changed.send(Job, job=row)


def end(row: Job, state: str, reason: str) -> None:
    """The one place where a job ends; runs inside the caller's transaction."""
    row.state = state
    row.reason = reason
    row.finished_at = timezone.now()
    row.lease_until = None
    row.save()
    note(row, "state", state=state, reason=reason)
    body = bodies.get(row.kind)
    if body and body.on_end:
        body.on_end(row)
    job_changed.send(Job, job=row)


@transaction.atomic
def cancel(*, job: Job, by: Any, reason: str = "") -> Job:
    """Ask a running job to stop, or end a waiting one at once."""
    row = Job.objects.select_for_update().get(pk=job.pk)
    if row.has_ended:
        return row
    row.cancel_requested = True
    row.reason = reason or f"Cancelled by {by}."
    if row.state == Job.State.WAITING:
        end(row, Job.State.CANCELLED, row.reason)
    else:
        row.save()
    return row
