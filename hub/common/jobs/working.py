"""One job, claimed and carried out by a worker whose heart beats meanwhile."""

import errno
import logging
import threading
import time

from django.db import close_old_connections, connection
from django.utils import timezone

from hub.common.errors import HubError
from hub.common.jobs.ending import finish, give_back
from hub.common.jobs.kinds import DiskFull, JobCancelled, JobLost, JobRefused, JobRetry, bodies
from hub.common.jobs.lease import Lease, claim
from hub.common.jobs.turns import claim_next
from hub.common.models import Job
from hub.storage.errors import StorageError, StoreUnavailable

log = logging.getLogger(__name__)

HEARTBEAT_S = 5


def run(job_id: str) -> None:
    """Claim and carry out this very job."""
    drop_old_connections()
    if lease := claim(job_id, now=timezone.now()):
        carry_out(lease)


def run_next(queue: str) -> None:
    """Claim and carry out the job of this queue whose turn it is; the Celery task is only this call."""
    drop_old_connections()
    if lease := claim_next(queue, now=timezone.now()):
        carry_out(lease)


def carry_out(lease: Lease) -> None:
    job_id = lease.job.pk
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
    except JobRetry as problem:
        give_back(lease, str(problem), pause_s=problem.pause_s)
    except StoreUnavailable as problem:
        give_back(lease, str(problem))
    except (JobRefused, HubError) as problem:
        finish(lease, Job.State.FAILED, str(problem))
    except Exception as problem:
        log.exception("Job %s failed", job_id)
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            give_back(lease, str(DiskFull()), pause_s=DiskFull.pause_s)
        else:
            give_back(lease, describe(problem, lease.job))
    finally:
        stop.set()
        if beater.is_alive():
            beater.join(timeout=HEARTBEAT_S + 1)


def describe(problem: Exception, job: Job) -> str:
    """What people read of a fault. What the exception says is for operators, in the log: it may name paths and secrets."""
    if isinstance(problem, StorageError):
        return str(problem)  # a sentence for people
    return f"Something broke in the hub itself; its log tells more under job {job.pk}."


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
