"""How much memory a training process may take, and the end of one that takes more."""

import os
import signal
import time
from pathlib import Path

from django.conf import settings

from hub.common.jobs import JobRefused
from training.engine.fitting import CPU_SHARE, find_container_bytes

# Where the system counts what it ended for want of memory: of this container, else of the whole machine.
KERNEL_COUNTS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
MEMORY_LOOK_S = 2.0


class TooMuchMemory(JobRefused):
    """It takes more memory than it may."""


def count_kernel_kills() -> int:
    """Processes that the system ended for want of memory so far; 0 where it does not say."""
    for path in KERNEL_COUNTS:
        try:
            counts = dict(line.split()[:2] for line in path.read_text().splitlines() if line)
        except (OSError, ValueError):
            continue
        if "oom_kill" in counts:
            return int(counts["oom_kill"])
    return 0


def memory_limit_bytes() -> int:
    """ENGINE_MEMORY_BYTES, or the engine's share of what this machine or container has."""
    if settings.ENGINE_MEMORY_BYTES:
        return int(settings.ENGINE_MEMORY_BYTES)
    return int(find_container_bytes() * CPU_SHARE)


def memory_of_family(pid: int) -> int:
    """Resident bytes of a process and those that it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # gone, or a system that does not tell
        children = []
    return memory_of(pid) + sum(memory_of(int(child)) for child in children)


def memory_of(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class MemoryWatch:
    """Ends a run that takes more memory than it may, in words, before the system does it without any; and knows
    afterwards whether the system did."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.limit = memory_limit_bytes()
        self.next = 0.0
        self.kills_before = count_kernel_kills()

    def was_killed_by_system(self, code: int) -> bool:
        """Whether a process that ended so was most likely ended for want of memory."""
        return code == -signal.SIGKILL and count_kernel_kills() > self.kills_before

    def check(self) -> None:
        """Raises TooMuchMemory."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + MEMORY_LOOK_S
        if memory_of_family(self.pid) > self.limit:
            raise TooMuchMemory(
                f"It needs more memory than the {self.limit / 1e9:.1f} GB it may use here; set a smaller "
                "train.context_tokens or train.batch_tokens in recipe.yaml, train with method: lora, or start from a smaller model."
            )
