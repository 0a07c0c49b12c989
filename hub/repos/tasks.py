"""Work that this room does behind the scenes."""

from django.utils import timezone

from hub.common.jobs import Lease, job_body
from hub.repos.garbage import collect, describe

DAY_S = 24 * 3600


@job_body("repos.collect_garbage", queue="default", every_s=DAY_S)
def collect_garbage(lease: Lease) -> None:
    """Give back the bytes of files that nothing has named for the whole grace."""
    lease.report("log", line=describe(collect(now=timezone.now())))
