"""Jobs of webhooks: find who hears of an event, send what is due, tidy up."""

from datetime import timedelta

from django.utils import timezone

from hub.common.jobs import Lease, enqueue, job_body
from hub.common.models import Job
from hub.community.webhooks.deliveries import has_due, plan, send_due
from hub.community.webhooks.history import prune

PASSES = 2  # of one job, so that what else waits in the queue has its turn
KEPT_FOR = timedelta(days=1)  # rows of announcements that have ended


@job_body("webhooks.announce", queue="quick")
def announce(lease: Lease) -> None:
    lease.check()
    if plan(lease.payload["event"], str(lease.job.pk), now=timezone.now()):
        enqueue("webhooks.deliver")


@job_body("webhooks.deliver", queue="quick", every_s=60)
def deliver(lease: Lease) -> None:
    """Queued when there is something new, and every minute for what is tried again."""
    for _ in range(PASSES):
        if not send_due(now=timezone.now(), check=lease.check):
            return
    if has_due(timezone.now()):
        enqueue("webhooks.deliver")


@job_body("webhooks.prune", queue="quick", every_s=3600)
def tidy_up(lease: Lease) -> None:
    now = timezone.now()
    prune(now=now)
    ended = Job.objects.filter(kind="webhooks.announce", state=Job.State.SUCCEEDED)
    ended.filter(finished_at__lt=now - KEPT_FOR).delete()
