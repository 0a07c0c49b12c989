"""Who holds a job: the claim, the lease that a heart has to renew, and the proof that the row is still one's own."""

import os
import socket
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from hub.common.jobs.kinds import JobCancelled, JobLost, bodies
from hub.common.jobs.telling import job_changed, note
from hub.common.models import Job

LEASE_S = 30  # a job whose worker has not been heard of for this long is given to another


@dataclass
class Lease:
    """What a body holds while it works: the row, and the duty to stop when the row is no longer its own."""

    job: Job
    fencing: int
    lost: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def payload(self) -> dict[str, Any]:
        return self.job.payload

    def check(self) -> None:
        """Raise JobLost or JobCancelled; bodies call it between steps."""
        if self.lost.is_set():
            raise JobLost
        if self.cancelled.is_set():
            raise JobCancelled

    def beat(self) -> None:
        """Extend the lease; learns of loss and cancellation."""
        now = timezone.now()
        mine = Job.objects.filter(pk=self.job.pk, fencing=self.fencing, state=Job.State.RUNNING)
        if not mine.update(lease_until=now + timedelta(seconds=LEASE_S)):
            self.lost.set()
        elif mine.filter(cancel_requested=True).exists():
            self.cancelled.set()

    def report(self, kind: str, **data: Any) -> None:
        """Store an event; `progress` also updates the row. A lost job reports nothing, whatever its heart knows yet."""
        self.check()
        with self.hold():
            note(self.job, kind, **data)
            if kind == "progress":
                self.note_progress(**data)

    def note_progress(self, **data: Any) -> None:
        """Where the work stands, on the row alone: what moves many times a second needs no event."""
        further = self.count_further(data.get("done"))
        Job.objects.filter(pk=self.job.pk, fencing=self.fencing).update(progress=data, **further)

    def count_further(self, done: Any) -> dict[str, int]:
        """What to write where no attempt has been before: this one does not count against the limit, as restarts of the
        hub would end every long run. Attempts that die where others died do count, so there is an end."""
        if not isinstance(done, int) or done <= self.job.furthest:
            return {}
        self.job.furthest = done
        return {"furthest": done, "max_attempts": self.job.attempt + bodies[self.job.kind].max_attempts}

    def hold(self) -> "HeldRow":
        """`with lease.hold():` a transaction in which results may be written: the row is locked and still ours."""
        return HeldRow(self)


class HeldRow:
    def __init__(self, lease: Lease):
        self.lease = lease
        self.atomic = transaction.atomic()

    def __enter__(self) -> Job:
        self.atomic.__enter__()
        try:
            row = Job.objects.select_for_update().get(pk=self.lease.job.pk)
            if row.fencing != self.lease.fencing or row.state != Job.State.RUNNING:
                self.lease.lost.set()
                raise JobLost
        except BaseException as problem:
            self.atomic.__exit__(type(problem), problem, problem.__traceback__)
            raise
        return row

    def __exit__(self, *problem: Any) -> None:
        self.atomic.__exit__(*problem)


def claim(job_id: str, *, now: datetime) -> Lease | None:
    """Take a waiting job, or None when it is not to be had."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    ready = Q(not_before__isnull=True) | Q(not_before__lte=now)
    taken = Job.objects.filter(ready, pk=job_id, state=Job.State.WAITING).update(
        state=Job.State.RUNNING,
        fencing=F("fencing") + 1,
        attempt=F("attempt") + 1,
        worker=name,
        lease_until=now + timedelta(seconds=LEASE_S),
        started_at=now,
        reason="",
    )
    if not taken:
        return None
    job = Job.objects.get(pk=job_id)
    note(job, "state", state=job.state, attempt=job.attempt, worker=name)
    job_changed.send(Job, job=job)
    return Lease(job, job.fencing)
