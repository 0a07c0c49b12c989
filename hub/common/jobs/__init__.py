"""Jobs by name. `enqueue("training.run", run_id=3)` writes a row and wakes a worker after the commit; the worker takes the
job of that queue whose turn it is (`turns`).

A body is registered with `@job_body("training.run", queue="cpu")` in the room that owns it and is called with a
`Lease`. Bodies are idempotent: a worker may die at any moment and another starts the body again (attempt + 1).
Why rows: Redis hands a long job out twice after its visibility timeout, and a message can be lost; so the row holds
state, lease and fencing number, the late twin stops itself, and `sweep` wakes what was forgotten."""

from hub.common.jobs.ending import cancel, end, finish, give_back
from hub.common.jobs.kinds import QUEUES, Body, DiskFull, JobCancelled, JobLost, JobRefused, JobRetry, bodies, job_body
from hub.common.jobs.lease import LEASE_S, Lease, claim
from hub.common.jobs.queueing import enqueue
from hub.common.jobs.sweeping import WAKE_AGAIN_S, sweep
from hub.common.jobs.telling import job_changed, note
from hub.common.jobs.turns import claim_next, list_ahead
from hub.common.jobs.working import run, run_next

__all__ = [
    "Body",
    "DiskFull",
    "JobCancelled",
    "JobLost",
    "JobRefused",
    "JobRetry",
    "LEASE_S",
    "Lease",
    "QUEUES",
    "WAKE_AGAIN_S",
    "bodies",
    "cancel",
    "claim",
    "claim_next",
    "end",
    "enqueue",
    "finish",
    "give_back",
    "job_body",
    "job_changed",
    "list_ahead",
    "note",
    "run",
    "run_next",
    "sweep",
]
