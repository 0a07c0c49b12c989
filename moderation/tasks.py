"""Bodies of moderation's jobs."""

from hub.common.jobs import JobRefused, Lease, job_body
from hub.repos.models import Revision
from moderation.screening import screen_forgotten, screen_fully


@job_body("moderation.screen_data", queue="default")
def screen_data(lease: Lease) -> None:
    """The whole content of what a commit brought."""
    revision = Revision.objects.filter(pk=lease.payload["revision_id"]).first()
    if revision is None:
        raise JobRefused("The repository was deleted.")
    screen_fully(lease, revision)


@job_body("moderation.screen_forgotten", queue="quick")
def look_for_forgotten(lease: Lease) -> None:
    lease.report("log", line=f"{screen_forgotten()} commits were screened late")
