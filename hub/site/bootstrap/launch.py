"""Become a supervised child: `python -I -S launch.py PARENT_PID COMMAND...`.

Runs between fork and the real program, because code in a fork of a process with threads may hang (subprocess'
preexec_fn). On Linux the kernel then ends the child when its parent dies, however that happens."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>; survives exec, is not inherited by the child's own children


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM when the parent ends; leave at once if it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        os._exit(0)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
