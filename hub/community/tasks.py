"""Work that this room does behind the scenes."""

from hub.common.jobs import Lease, job_body
from hub.community.interrupted import finish_interrupted
from hub.repos.commits import reconcile


@job_body("repos.reconcile", queue="quick", every_s=60)
def reconcile_writes(lease: Lease) -> None:
    """Finish commits, pull requests and merges whose process died between git and the rows."""
    finished = reconcile(older_than_s=float(lease.payload.get("older_than_s", 60)))
    count = len(finished) + finish_interrupted(finished)
    lease.report("log", line=f"{count} interrupted writes finished")
