"""The kinds of jobs, each registered with its body by the room that owns it, and the words with which a body ends early."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.common.models import Job

if TYPE_CHECKING:
    from hub.common.jobs.lease import Lease

# By what a job would have to wait for: quick ones only for each other, an answer in the playground for no training.
QUEUES = ("quick", "default", "chat", "cpu", "gpu")


class JobLost(Exception):
    """Another attempt owns the row now: stop at once and write nothing."""


class JobCancelled(Exception):
    """Somebody asked for the end: clean up and stop."""


class JobRefused(Exception):
    """The input can never work: fail now with this sentence, no further attempt."""


class JobRetry(Exception):
    """Infrastructure failed: try again later (no sooner than after `pause_s`), at nobody's cost."""

    pause_s = 0.0


class DiskFull(JobRetry):
    """No room: an operator needs minutes, so five tries within half a minute would only use them up."""

    pause_s = 300.0

    def __init__(self) -> None:
        super().__init__("The disk of this hub is full; its operator has to make room.")


@dataclass(frozen=True)
class Body:
    kind: str
    queue: str
    run: "Callable[[Lease], None]"
    max_attempts: int
    on_end: Callable[[Job], None] | None
    every_s: int | None  # housekeeping: the sweeper queues one of these so often


bodies: dict[str, Body] = {}


def job_body(
    kind: str,
    *,
    queue: str = "default",
    max_attempts: int = 5,
    on_end: Callable[[Job], None] | None = None,
    every_s: int | None = None,
) -> Callable[[Callable[["Lease"], None]], Callable[["Lease"], None]]:
    """Register the body of a kind. `on_end(job)` runs once in the transaction that ends the job, however it ends.

    With `every_s` nobody has to ask for it: one is queued so often, each after the one before has ended."""

    def register(function: Callable[["Lease"], None]) -> Callable[["Lease"], None]:
        bodies[kind] = Body(kind, queue, function, max_attempts, on_end, every_s)
        return function

    return register
