"""How much memory a training process may take, and the end of one that takes more."""

import os
import time
from pathlib import Path

from django.conf import settings

from hub.common.jobs import JobRefused

MEMORY_LOOK_S = 2.0
MEMORY_SHARE = 0.8  # of the machine or the container: the site, the database and the page cache need the rest


def memory_limit_bytes() -> int:
    """ENGINE_MEMORY_BYTES, or the engine's share of what this machine or container has."""
    if settings.ENGINE_MEMORY_BYTES:
        return int(settings.ENGINE_MEMORY_BYTES)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        whole = min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        pass  # no container, or "max"
    return int(whole * MEMORY_SHARE)


def memory_of(pid: int) -> int:
    """Resident bytes of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


class MemoryWatch:
    """Ends a run that takes more memory than it may, in words, before the system does it without any."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.limit = memory_limit_bytes()
        self.next = 0.0

    def check(self) -> None:
        """Raises JobRefused."""
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + MEMORY_LOOK_S
        if memory_of(self.pid) > self.limit:
            raise JobRefused(
                f"It needs more memory than the {self.limit / 1e9:.1f} GB it may use here; set a smaller "
                "train.context_tokens or train.batch_tokens in recipe.yaml, train with method: lora, or start from a smaller model."
            )
