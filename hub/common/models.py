"""Jobs and their events: the row is the truth, Celery only wakes workers (docs/architecture.md, "Jobs")."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

__all__ = ["Job", "JobEvent"]


class Job(models.Model):
    """One piece of work with a lease. Its id is opaque and public; its `fencing` grows with every attempt,
    and a worker whose number is not the row's any more has lost the job and stops itself."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    ENDED = ("succeeded", "failed", "cancelled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=80)
    queue = models.CharField(max_length=20, default="default")
    payload = models.JSONField(default=dict)
    subject = models.CharField(max_length=120, blank=True)  # "run:12": what the job works for, for pages
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    reason = models.TextField(blank=True)  # one sentence for people: why it waits, failed or was cancelled
    progress = models.JSONField(default=dict)  # {"sentence","done","total","eta_s"}
    attempt = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField(default=5)  # lost workers are retried; refused inputs are not
    furthest = models.PositiveBigIntegerField(
        default=0
    )  # the most "done" of any attempt: beyond it, max_attempts grows
    fencing = models.PositiveBigIntegerField(default=0)
    worker = models.CharField(max_length=120, blank=True)
    lease_until = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(default=False)
    charged_to = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    budget_s = models.PositiveIntegerField(default=3600)  # wall seconds of one attempt
    not_before = models.DateTimeField(null=True)
    woken_at = models.DateTimeField(null=True)  # last time a message was sent; the sweeper sends again
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["state", "lease_until"], name="job_sweep"),  # hub.common.jobs.sweep
            models.Index(fields=["subject", "-created_at"], name="job_subject"),  # run pages
        ]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="job_running_has_a_lease"
            )
        ]

    # Told to on_end, not stored: seconds of the attempt that its own worker ended. What broke, or waited, counts nothing.
    worked_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def has_ended(self) -> bool:
        return self.state in self.ENDED


class JobEvent(models.Model):
    """What a job reported, in order: states, progress, metrics, samples, log lines."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20)  # state | progress | metrics | sample | warning | error | log | stage
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["job", "id"], name="job_event_tail")]  # live pages read what is new
