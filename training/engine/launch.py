"""`launch --ranks N COMMAND ...`: the same command in N processes of this machine, as torchrun would start them.

They end together: where one fails, the others are stopped; a signal to this one reaches all, and so does its death."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from training.engine.threads import count_threads

POLL_S = 0.1
PATIENCE_S = 5.0  # for the others, once one has failed: who waits for it in a sum never returns
PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.engine launch", description=__doc__)
    parser.add_argument("--ranks", type=int, required=True, metavar="N")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    if not 1 <= args.ranks <= 64:
        parser.error("--ranks must be 1 to 64")
    return launch([sys.executable, "-m", "training.engine", *args.command], args.ranks)


def launch(command: list[str], ranks: int) -> int:
    """The exit code of the first rank that failed, else 0. Where a rank was killed, this one ends in the same way."""
    shared = {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(find_free_port()),
        "OMP_NUM_THREADS": str(max(1, count_threads() // ranks)),
        # The sandbox has this interface and no other.
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    shared["ENGINE_THREADS"] = shared["MKL_NUM_THREADS"] = shared["OMP_NUM_THREADS"]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            preexec_fn=die_with_parent,
        )
        for rank in range(ranks)
    ]

    def pass_on(signum: int, _: Any) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signum)

    before = {signum: signal.signal(signum, pass_on) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = wait(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if code < 0:
        os.kill(os.getpid(), signal.SIGKILL)  # the worker tells a kill, as by a system without memory, from a crash
    return code


def wait(processes: list[subprocess.Popen[bytes]]) -> int:
    """Until all have ended, or a few seconds after the first one failed."""
    deadline = float("inf")
    first = 0
    while time.monotonic() < deadline:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed and not first:
            first, deadline = failed[0], time.monotonic() + PATIENCE_S
        if None not in codes:
            break
        time.sleep(POLL_S)
    return first


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def find_free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])
