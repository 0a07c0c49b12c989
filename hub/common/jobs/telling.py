"""What others hear of a job: the events of its record, and a signal when its state changes."""

from typing import Any

from django.dispatch import Signal
from django.utils import timezone

from hub.common.models import Job, JobEvent

job_changed = Signal()  # sender=Job, job=...: a state changed (pages, webhooks, audit listen)


def note(job: Job, kind: str, **data: Any) -> JobEvent:
    return JobEvent.objects.create(job=job, kind=kind, data=data, at=timezone.now())
