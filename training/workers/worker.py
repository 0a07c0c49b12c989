"""Supervises one run of the engine: starts it, streams its events, and ends it when its job is cancelled or lost."""

import fcntl
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.common.jobs import DiskFull, JobCancelled, JobLost, JobRefused, JobRetry, Lease
from training.workers.memory import MemoryWatch, memory_limit_bytes
from training.workers.relaying import Event, relay

log = logging.getLogger(__name__)

POLL_S = 0.5
CARDS = Path("/dev")
LOCK_WAIT_S = 10  # for the trainer of an attempt before, which its worker ends
STOP_S = 20  # between SIGTERM (save a checkpoint) and SIGKILL
MAX_LINE = 1_000_000  # characters of one event
MAX_STDERR = 8_000  # characters kept of what the child said last

PASSED_ON = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "ENGINE_CHECKPOINT_S",
)  # nothing else of our environment

NO_SPACE = "No space left on device"  # as every library says it
MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")  # of torch, on GPU and CPU
OUT_OF_MEMORY = "The training program ran out of memory."


@dataclass
class Outcome:
    """How the engine ended: its exit code, its last error event, and the end of its stderr."""

    code: int
    error: Event | None = None
    stderr: str = ""
    is_out_of_memory: bool = False  # by its own word, or ended by the system for want of memory
    done: Event | None = None
    sandbox: Event = field(default_factory=dict)


def environment(threads: int) -> dict[str, str]:
    """An empty environment but for what Python and torch need: no secret of the hub reaches the engine."""
    keep = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **keep,
        "PYTHONPATH": str(settings.BASE_DIR),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "ENGINE_MEMORY_BYTES": str(memory_limit_bytes()),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def engine_threads() -> int:
    return int(os.environ.get("ENGINE_THREADS", 0)) or os.cpu_count() or 1


def engine_processes() -> int:
    """Of one training: ENGINE_PROCESSES, else one for each card that this worker may use."""
    if settings.ENGINE_PROCESSES:
        return max(1, int(settings.ENGINE_PROCESSES))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))
    return max(1, sum(path.name[6:].isdigit() for path in CARDS.glob("nvidia[0-9]*")))


def in_processes(arguments: list[str], count: int) -> list[str]:
    """The engine's command in so many processes."""
    return arguments if count == 1 else ["launch", "--ranks", str(count), *arguments]


def start_engine(arguments: list[str], *, own: Path, reads: list[Path] = [], **popen: Any) -> subprocess.Popen[str]:  # noqa: B006
    """The engine in its sandbox and in a process group of its own."""
    own.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training.workers.sandbox", "--own", str(own)]
    for folder in reads:
        command += ["--reads", str(folder)]
    if arguments[0] == "launch":
        command += ["--loopback"]
    return subprocess.Popen(
        [*command, "--", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment(engine_threads()),
        cwd=own,
        start_new_session=True,
        **popen,
    )


def stop_engine(child: subprocess.Popen[str], *, at_once: bool = False) -> None:
    """End the whole process group: kindly first, so that a checkpoint can be saved."""
    for signal_, patience in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, 10)):
        if at_once and signal_ == signal.SIGTERM:
            continue
        try:
            os.killpg(child.pid, signal_)
        except ProcessLookupError:
            break
        try:
            child.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue
    try:  # whatever the child itself left behind in its group
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def supervise(
    lease: Lease,
    arguments: list[str],
    *,
    own: Path,
    reads: list[Path],
    on_event: Callable[[Event], None],
) -> Outcome:
    """Run the engine to its end. Raises JobCancelled, JobLost or TooMuchMemory after stopping it."""
    log_path = own / "stderr.log"
    own.mkdir(parents=True, exist_ok=True)
    with one_trainer(own) as lock, log_path.open("w") as stderr:
        child = start_engine(arguments, own=own, reads=reads, stdin=subprocess.DEVNULL, stderr=stderr, pass_fds=(lock,))
        lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        reader = threading.Thread(target=pump, args=(child, lines), daemon=True)
        reader.start()
        outcome = Outcome(code=-1)
        try:
            memory = MemoryWatch(child.pid)
            follow(lease, memory, lines, outcome, on_event)
            outcome.code = child.wait(30)
            outcome.is_out_of_memory = says_out_of_memory(outcome) or memory.was_killed_by_system(outcome.code)
        except JobCancelled:
            stop_engine(child)
            raise
        finally:
            stop_engine(child, at_once=True)
            drain(lines, reader)
    outcome.stderr = log_path.read_text(errors="replace")[-MAX_STDERR:]
    return outcome


@contextmanager
def one_trainer(own: Path) -> Iterator[int]:
    """Two trainers must not write one folder: a worker that was silent for a moment may still have its own at work.

    The child inherits the lock, so that it ends with the last of the two. Raises JobRetry while somebody holds it."""
    path = own.with_name(own.name + ".lock")  # beside the folder: the engine's user may not take it away
    with path.open("w") as file:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise JobRetry("The attempt before it is still ending.") from None
                time.sleep(0.1)
        yield file.fileno()


def drain(lines: "queue.Queue[str | None]", reader: threading.Thread) -> None:
    """Let the reader end, which may wait for room in the queue; at most a few seconds, it is a daemon."""
    deadline = time.monotonic() + 5
    while reader.is_alive() and time.monotonic() < deadline:
        try:
            lines.get(timeout=0.1)
        except queue.Empty:
            reader.join(0.1)


def pump(child: subprocess.Popen[str], lines: "queue.Queue[str | None]") -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line[:MAX_LINE])
    lines.put(None)


def follow(
    lease: Lease,
    memory: MemoryWatch,
    lines: "queue.Queue[str | None]",
    outcome: Outcome,
    on_event: Callable[[Event], None],
) -> None:
    while True:
        lease.check()
        memory.check()
        try:
            line = lines.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return
        event = read_event(line)
        if event is None:
            continue
        if event["event"] == "error":
            outcome.error = event
        elif event["event"] == "done":
            outcome.done = event
        elif event["event"] == "sandbox":
            outcome.sandbox = event
        on_event(event)


def read_event(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # a library that prints is no event
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def says_out_of_memory(outcome: Outcome) -> bool:
    error = outcome.error or {}
    words = str(error.get("message")).lower()
    return error.get("code") == "out_of_memory" or any(part in words for part in MEMORY_WORDS)


def require_success(outcome: Outcome) -> None:
    """Raise JobRefused with the engine's own sentence for bad input, JobRetry for a crash."""
    if outcome.code == 0:
        return
    if NO_SPACE in outcome.stderr or NO_SPACE in str((outcome.error or {}).get("message")):
        raise DiskFull
    if outcome.is_out_of_memory:
        raise JobRetry(OUT_OF_MEMORY)
    message = (outcome.error or {}).get("message") or ""
    hint = (outcome.error or {}).get("hint") or ""
    if outcome.code == 2:
        raise JobRefused(message if hint and hint in message else " ".join(part for part in (message, hint) if part))
    if not message:  # a crash: what it said names files of this machine, so it stays here
        log.warning("The training program stopped with code %s: %s", outcome.code, outcome.stderr.strip())
    said = message.rstrip(".") or name_end(outcome.code)
    raise JobRetry(f"The training program stopped with code {outcome.code}: {said}.")


def name_end(code: int) -> str:
    """What ended a program that told nothing itself, in words for people."""
    if code < 0:
        return f"the system ended it ({signal.Signals(-code).name if -code in set(signal.Signals) else 'a signal'})"
    return "it broke; whoever runs this hub finds what it last said in the log of the worker"


__all__ = ["JobLost", "Outcome", "relay", "require_success", "start_engine", "stop_engine", "supervise"]
