"""Jobs by name. `enqueue("training.run", run_id=3)` writes a row and wakes a worker after the commit.

A body is registered with `@job_body("training.run", queue="cpu")` in the room that owns it and is called with a
`Lease`. Bodies are idempotent: a worker may die at any moment and another starts the body again (attempt + 1).
Why rows: Redis hands a long job out twice after its visibility timeout, and a message can be lost; so the row holds
state, lease and fencing number, the late twin stops itself, and `sweep` wakes what was forgotten."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import close_old_connections, connection, transaction
from django.db.models import F, Q
from django.dispatch import Signal
from django.utils import timezone

from hub.common.errors import HubError
from hub.common.models import Job, JobEvent
from hub.storage.errors import StoreUnavailable

log = logging.getLogger(__name__)

LEASE_S = 30  # a job whose worker has not been heard of for this long is given to another
HEARTBEAT_S = 5
WAKE_AGAIN_S = 20  # a waiting job whose message may be lost is announced again
BROKER_PROBE_S = 0.5
# By what a job would have to wait for: quick ones only for each other, an answer in the playground for no training.
QUEUES = ("quick", "default", "chat", "cpu", "gpu")

job_changed = Signal()  # sender=Job, job=...: a state changed (pages, webhooks, audit listen)


class JobLost(Exception):
    """Another attempt owns the row now: stop at once and write nothing."""


class JobCancelled(Exception):
    """Somebody asked for the end: clean up and stop."""


class JobRefused(Exception):
    """The input can never work: fail now with this sentence, no further attempt."""


class JobRetry(Exception):
    """Infrastructure failed: try again later, at nobody's cost."""


@dataclass(frozen=True)
class Body:
    kind: str
    queue: str
    run: "Callable[[Lease], None]"
    max_attempts: int
    on_end: Callable[[Job], None] | None
    every_s: int | None  # housekeeping: the sweeper queues one of these so often


bodies: dict[str, Body] = {}


def job_body(
    kind: str,
    *,
    queue: str = "default",
    max_attempts: int = 5,
    on_end: Callable[[Job], None] | None = None,
    every_s: int | None = None,
) -> Callable[[Callable[["Lease"], None]], Callable[["Lease"], None]]:
    """Register the body of a kind. `on_end(job)` runs once in the transaction that ends the job, however it ends.

    With `every_s` nobody has to ask for it: one is queued so often, each after the one before has ended."""

    def register(function: Callable[["Lease"], None]) -> Callable[["Lease"], None]:
        bodies[kind] = Body(kind, queue, function, max_attempts, on_end, every_s)
        return function

    return register


@transaction.atomic
def enqueue(
    kind: str,
    *,
    subject: str = "",
    queue: str | None = None,
    charged_to: Any = None,
    budget_s: int = 3600,
    delay_s: float = 0,
    **payload: Any,
) -> Job:
    """Write the job row in the caller's transaction and wake a worker after its commit."""
    body = bodies[kind]  # an unknown name is our own mistake: fail where it was written
    now = timezone.now()
    job = Job.objects.create(
        kind=kind,
        queue=queue or body.queue,
        payload=payload,
        subject=subject,
        charged_to=charged_to,
        budget_s=budget_s,
        max_attempts=body.max_attempts,
        created_at=now,
        not_before=now + timedelta(seconds=delay_s) if delay_s else None,
    )
    note(job, "state", state=job.state)
    transaction.on_commit(lambda: wake(job), robust=True)  # the row is there: a message that fails is sent again
    return job


def wake(job: Job) -> None:
    """Send the message. A broker that is down costs nothing: the sweeper sends it again."""
    from celery import current_app  # the process' own app; no import of hub.site from below

    Job.objects.filter(pk=job.pk).update(woken_at=timezone.now())
    task = current_app.tasks.get("hub.run_job")
    if task is None:
        log.warning("No Celery app is configured in this process; the sweeper will wake job %s.", job.pk)
        return
    if not broker_listens(str(current_app.conf.broker_url)):
        log.warning("Job %s was not announced (the broker does not listen); the sweeper will try again.", job.pk)
        return
    try:
        task.apply_async(args=[str(job.pk)], queue=job.queue, retry=False)
    except Exception as problem:  # kombu raises many kinds; all mean "not announced", which the sweeper mends
        log.warning("Job %s was not announced (%s); the sweeper will try again.", job.pk, problem)


def broker_listens(url: str) -> bool:
    """Whether a Redis broker takes connections. The client library would try for six seconds, within a page's request."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "redis+socket":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(BROKER_PROBE_S)
                probe.connect(parts.path)
        elif parts.scheme in ("redis", "rediss"):
            socket.create_connection((parts.hostname or "localhost", parts.port or 6379), BROKER_PROBE_S).close()
    except OSError:
        return False
    return True


def note(job: Job, kind: str, **data: Any) -> JobEvent:
    return JobEvent.objects.create(job=job, kind=kind, data=data, at=timezone.now())


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


def run(job_id: str) -> None:
    """Claim and carry out one job; the Celery task is only this call."""
    drop_old_connections()
    lease = claim(job_id, now=timezone.now())
    if lease is None:
        return
    stop = threading.Event()
    beater = threading.Thread(target=keep_beating, args=(lease, stop), daemon=True)
    in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
    if not in_memory:  # an in-memory test database cannot be shared with a thread
        beater.start()
    try:
        bodies[lease.job.kind].run(lease)
        finish(lease, Job.State.SUCCEEDED, "")
    except JobLost:
        log.warning("Job %s was taken over; this attempt stops.", job_id)
    except JobCancelled:
        finish(lease, Job.State.CANCELLED, "Cancelled on request.")
    except (JobRetry, StoreUnavailable) as problem:
        give_back(lease, str(problem))
    except (JobRefused, HubError) as problem:
        finish(lease, Job.State.FAILED, str(problem))
    except Exception as problem:
        log.exception("Job %s failed", job_id)
        give_back(lease, f"Something broke in the hub itself ({type(problem).__name__}: {problem}).")
    finally:
        stop.set()
        if beater.is_alive():
            beater.join(timeout=HEARTBEAT_S + 1)


def drop_old_connections() -> None:
    """A worker lives for days, its connections do not."""
    if not connection.in_atomic_block:
        close_old_connections()


def keep_beating(lease: Lease, stop: threading.Event) -> None:
    started = time.monotonic()
    try:
        while not stop.wait(HEARTBEAT_S):
            try:
                lease.beat()
            except Exception:  # a busy database must not end the heart; the lease outlasts several beats
                log.exception("A heartbeat of job %s failed", lease.job.pk)
            if time.monotonic() - started > lease.job.budget_s:
                Job.objects.filter(pk=lease.job.pk, fencing=lease.fencing).update(
                    cancel_requested=True, reason=f"Its budget of {lease.job.budget_s} s was used up."
                )
                lease.cancelled.set()
            if lease.lost.is_set():
                return
    finally:
        connection.close()


def finish(lease: Lease, state: str, reason: str) -> None:
    """End the job if it is still ours."""
    try:
        with lease.hold() as row:
            if state == Job.State.CANCELLED and row.reason:
                reason = row.reason
            end(row, state, reason)
    except JobLost:
        log.warning("Job %s was taken over before it ended.", lease.job.pk)


def give_back(lease: Lease, reason: str) -> None:
    """Let another attempt try, or fail when the attempts are used up. Infrastructure, not the person, is at fault."""
    try:
        with lease.hold() as row:
            release_or_fail(row, reason, now=timezone.now())
    except JobLost:
        return


def release_or_fail(row: Job, reason: str, *, now: datetime) -> None:
    if row.cancel_requested:
        end(row, Job.State.CANCELLED, row.reason or "Cancelled on request.")
    elif row.attempt >= row.max_attempts:
        end(row, Job.State.FAILED, f"{reason} It was tried {row.attempt} times; re-run it when the cause is mended.")
    else:
        row.state = Job.State.WAITING
        row.reason = f"{reason} It is tried again."
        row.lease_until = None
        row.not_before = now + timedelta(seconds=min(2**row.attempt, 60))
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


def sweep(*, now: datetime | None = None) -> None:
    """Wake forgotten jobs and take over those whose worker is silent. Safe to run anywhere, any number of times."""
    now = now or timezone.now()
    drop_old_connections()
    for pk in list(Job.objects.filter(state=Job.State.RUNNING, lease_until__lt=now).values_list("pk", flat=True)):
        try:
            take_from_silent_worker(pk, now)
        except Exception:  # the end of one job must not keep the others asleep
            log.exception("Job %s could not be taken from its silent worker", pk)
    queue_housekeeping(now)
    stale = now - timedelta(seconds=WAKE_AGAIN_S)
    forgotten = Job.objects.filter(
        Q(woken_at__isnull=True) | Q(woken_at__lt=stale) | Q(not_before__gt=F("woken_at")),
        Q(not_before__isnull=True) | Q(not_before__lte=now),
        state=Job.State.WAITING,
    )
    for job in forgotten.order_by("created_at")[:200]:
        wake(job)


@transaction.atomic
def take_from_silent_worker(pk: Any, now: datetime) -> None:
    row = Job.objects.select_for_update().filter(pk=pk).first()
    if row and row.state == Job.State.RUNNING and row.lease_until and row.lease_until < now:
        release_or_fail(row, "Its worker was not heard of any more.", now=now)


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
