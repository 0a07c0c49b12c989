"""Two processes watch each other: one in front at the terminal, one behind that supervises. Whichever is killed, even
with SIGKILL, the other one ends all that was started."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from hub.site.bootstrap import processes
from hub.site.bootstrap.launch import die_with_parent


def run_behind(body: Callable[[int], int]) -> int:
    """Run `body(pid of the process in front)` in a process of its own session and return its exit code.

    Must be called before any thread is started."""
    processes.adopt_orphans()
    front_pid = os.getpid()
    behind_pid = os.fork()
    if behind_pid == 0:
        _carry_out(body, front_pid)
    _forward_signals(behind_pid)
    _, status = os.waitpid(behind_pid, 0)  # resumes by itself after a signal
    processes.end_descendants(grace_s=4.0)
    if os.WIFSIGNALED(status):
        print("The supervisor was killed; everything it had started has been stopped.", file=sys.stderr)
        return 1
    return os.waitstatus_to_exitcode(status)


def _carry_out(body: Callable[[int], int], front_pid: int) -> None:
    code = 1
    try:
        os.setsid()  # Ctrl-C goes to the process in front alone, which passes it on
        die_with_parent(front_pid)
        code = body(front_pid)
    except BaseException:
        traceback.print_exc()
    finally:
        # A fork must not run the exit handlers of the process in front.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _forward_signals(pid: int) -> None:
    def forward(number: int, frame: FrameType | None) -> None:
        processes.send(signal.SIGTERM, [pid])

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
