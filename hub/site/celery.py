"""Celery only wakes workers: what is to be done, by whom and until when stands in the Job row (hub.common.jobs)."""

import os

from celery import Celery
from celery.signals import worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.site.settings")

app = Celery("model_commons")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_default_queue="default",
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 6 * 3600},
    worker_hijack_root_logger=False,
    # Lost leases are found however long the screenings before them take; sweeps that waited for each other are one.
    task_routes={"hub.sweep_jobs": {"queue": "quick"}},
    beat_schedule={"sweep-jobs": {"task": "hub.sweep_jobs", "schedule": 5.0, "options": {"expires": 10}}},
)


@worker_process_init.connect
def close_inherited_connections(**_: object) -> None:
    """A forked worker must not share its parent's database connections."""
    from django.db import connections

    connections.close_all()


@app.task(name="hub.run_job")
def run_job(job_id: str, queue: str = "") -> None:
    """Carry out a job of the queue: the one whose turn it is. A message of an older hub names no queue."""
    from hub.common.jobs import run, run_next

    if queue:
        run_next(queue)
    else:
        run(job_id)


@app.task(name="hub.sweep_jobs")
def sweep_jobs() -> None:
    from hub.common.jobs import sweep

    sweep()
