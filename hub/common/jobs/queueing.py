"""A job is written and a worker is woken."""

import logging
import socket
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.utils import timezone

from hub.common.jobs.kinds import bodies
from hub.common.jobs.telling import note
from hub.common.models import Job

log = logging.getLogger(__name__)

BROKER_PROBE_S = 0.5


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


def wake(job: Job, *, now: datetime | None = None) -> None:
    """Send the message. A broker that is down costs nothing: the sweeper sends it again."""
    from celery import current_app  # the process' own app; no import of hub.site from below

    Job.objects.filter(pk=job.pk).update(woken_at=now or timezone.now())
    task = current_app.tasks.get("hub.run_job")
    if task is None:
        log.warning("No Celery app is configured in this process; the sweeper will wake job %s.", job.pk)
        return
    if not broker_listens(str(current_app.conf.broker_url)):
        log.warning("Job %s was not announced (the broker does not listen); the sweeper will try again.", job.pk)
        return
    try:
        task.apply_async(args=[str(job.pk), job.queue], queue=job.queue, retry=False)
    except Exception as problem:  # kombu raises many kinds; all mean "not announced", which the sweeper mends
        log.warning("Job %s was not announced (%s); the sweeper will try again.", job.pk, problem)


def count_messages(queue: str) -> int:
    """How many messages wait at the broker for this queue; 0 where it cannot say, as nothing is lost by sending again."""
    from celery import current_app

    if not broker_listens(str(current_app.conf.broker_url)):
        return 0
    try:
        with current_app.connection_for_write() as connection, connection.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)
    except Exception as problem:  # kombu raises many kinds; also for a queue that nobody has written to
        log.info("The queue %s could not be counted (%s).", queue, problem)
        return 0


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
