"""How many threads a process computes with. No torch here: what starts the processes asks too."""

from __future__ import annotations

import os

MAX_THREADS = 16  # more gain nothing on the small models that a CPU trains


def count_threads() -> int:
    """ENGINE_THREADS or OMP_NUM_THREADS where set, else the cores that this process may use."""
    for name in ("ENGINE_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)
