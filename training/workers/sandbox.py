"""Starts the engine with as little power as the system lets us give it, then becomes it.

`python -m training.workers.sandbox --own OUT [--program NAME] -- ARGUMENTS`: no network where namespaces are allowed, another user where we are
root and that user can read the interpreter, limits on files and core dumps, and death when the worker dies. What could
be had is printed as the first event, so that the record of a run says how it was confined."""

import argparse
import ctypes
import fcntl
import json
import os
import resource
import runpy
import signal
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
NOBODY = 65534
MAX_FILE_BYTES = 200 * 1024**3
MAX_OPEN_FILES = 4096
PROGRAMS = ("training.engine", "training.drafting.preview_program")

libc = ctypes.CDLL(None, use_errno=True)


def leave_network() -> bool:
    """A network namespace of our own holds no interface but a loopback that is down."""
    if os.geteuid() == 0:
        return libc.unshare(CLONE_NEWNET) == 0
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        return False
    try:  # keep our own ids inside, or files would seem to belong to nobody
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError:
        pass
    return True


def raise_loopback() -> None:
    """The processes of one run speak over it; nobody else is in the namespace."""
    with socket.socket() as any_socket:
        name = b"lo".ljust(16, b"\0")
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", name, IFF_UP))


def can_read_as(uid: int, paths: list[str]) -> bool:
    """Whether that user can read what the engine needs, tried in a child."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os._exit(0 if all(os.access(path, os.R_OK | os.X_OK) for path in paths) else 1)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def give_tree(folder: str, uid: int) -> None:
    for root, folders, files in os.walk(folder):
        for name in ["", *folders, *files]:
            os.chown(os.path.join(root, name), uid, uid, follow_symlinks=False)


def drop_user(own: str, readable: list[str]) -> bool:
    if os.geteuid() != 0:
        return False
    program = [os.path.realpath(sys.executable), os.path.dirname(os.__file__), *filter(os.path.isdir, sys.path)]
    if not can_read_as(NOBODY, [*program, os.path.dirname(os.path.abspath(own)), *readable]):
        return False
    give_tree(own, NOBODY)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    return True


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def stand_first() -> None:
    """Where the machine runs out of memory, the system ends this process, not the site or the database beside it."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--own", required=True, help="the folder that the engine writes")
    parser.add_argument("--reads", action="append", default=[], help="a folder that the engine reads")
    parser.add_argument("--loopback", action="store_true", help="let the processes of this run speak to one another")
    parser.add_argument("--program", choices=PROGRAMS, default=PROGRAMS[0])
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    parent = os.getppid()
    limit()
    stand_first()
    no_network = leave_network()
    if no_network and options.loopback:
        raise_loopback()
    own_user = drop_user(options.own, options.reads)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # After the change of user, which clears it: the engine must not outlive its worker.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(137)
    event = {"event": "sandbox", "network": not no_network, "own_user": own_user}
    print(json.dumps(event), flush=True)
    sys.argv = [options.program, *options.arguments]
    runpy.run_module(options.program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
