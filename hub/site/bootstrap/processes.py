"""Processes and their offspring: start one that dies with us, find every descendant, end them all."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

LAUNCH = Path(__file__).with_name("launch.py")
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can slip away (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


def start(command: list[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start `command` as the leader of its own session, its output appended to `log`.

    The kernel sends it SIGTERM when this process dies."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), *command],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def descendants(pid: int) -> set[int]:
    """Process ids of all living children, grandchildren and so on of `pid`."""
    children = defaultdict(list)
    for child, parent in _parents().items():
        children[parent].append(child)
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = [child for child in children[todo.pop()] if child not in found]
        found.update(new)
        todo.extend(new)
    return found


def _parents() -> dict[int, int]:
    """Parent of every process that is not a zombie."""
    if not Path("/proc/self/stat").exists():
        rows = subprocess.run(["ps", "-axo", "pid=,ppid=,stat="], capture_output=True, text=True).stdout.splitlines()
        table = [row.split() for row in rows]
        return {int(pid): int(parent) for pid, parent, state in table if not state.startswith("Z")}
    parents = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):  # it may end while we look
            # The name in brackets may hold anything, brackets and spaces too: cut after its last bracket.
            state, parent = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry)] = int(parent)
    return parents


def send(signal_number: int, pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal_number)


def kill_group(leader: int) -> None:
    """End a whole process group at once, whether its leader still lives or not."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def kill_orphans(own: Iterable[int]) -> None:
    """End the descendants that came to us because their parent died, with all they started (Linux): whoever asked
    for their work is gone and will ask again, so two of them must not do it at once."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    if not listing.exists():
        return
    for orphan in {int(pid) for pid in listing.read_text().split()} - set(own):
        send(signal.SIGKILL, {orphan, *descendants(orphan)})


def reap_orphans(own: Iterable[int]) -> None:
    """Collect the ended descendants that came to us, but leave our `own` children to their Popen objects."""
    keep = set(own)
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in keep:
            return
        os.waitpid(ended.si_pid, 0)


def end_descendants(*, grace_s: float) -> None:
    """SIGTERM to everything below this process, SIGKILL to what is left after `grace_s` seconds."""
    send(signal.SIGTERM, descendants(os.getpid()))
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline:
        reap_orphans(())
        if not descendants(os.getpid()):
            return
        time.sleep(0.05)
    # Repeated, because a dying process may have forked once more before the signal reached it.
    while left := descendants(os.getpid()):
        send(signal.SIGKILL, left)
        reap_orphans(())
        time.sleep(0.02)
