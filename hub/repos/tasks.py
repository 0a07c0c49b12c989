"""Work that this room does behind the scenes."""

from django.utils import timezone

from hub.common.jobs import JobRefused, Lease, job_body
from hub.repos import purging
from hub.repos.garbage import collect, describe
from hub.repos.purge_models import Purge

DAY_S = 24 * 3600


@job_body("repos.collect_garbage", queue="default", every_s=DAY_S)
def collect_garbage(lease: Lease) -> None:
    """Give back the bytes of files that nothing has named for the whole grace."""
    lease.report("log", line=describe(collect(now=timezone.now())))


@job_body(purging.KIND, queue="default")
def carry_out_purge(lease: Lease) -> None:
    """What is left of a purge: all of it, the rest after a crash, or a second look."""
    row = Purge.objects.select_related("repo", "by").filter(pk=lease.payload["purge_id"]).first()
    if row is None:
        raise JobRefused("The repository was deleted.")
    purging.carry_out(row)


@job_body("repos.finish_purges", queue="quick", every_s=300)
def finish_purges(lease: Lease) -> None:
    lease.report("log", line=f"{purging.finish_forgotten()} purges were taken up again")
