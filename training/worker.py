"""Supervises one run of the engine: starts it, streams its events, and ends it when its job is cancelled or lost."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.common.jobs import JobCancelled, JobLost, JobRefused, JobRetry, Lease
from training.memory import MemoryWatch

POLL_S = 0.5
STOP_S = 20  # between SIGTERM (save a checkpoint) and SIGKILL
MAX_LINE = 1_000_000  # characters of one event
MAX_STDERR = 8_000  # characters kept of what the child said last

MIN_GAP_S = 0.4  # between two stored points of the loss curve ...
POINTS_PER_AGE = 300  # ... and at most so many for each time the age of the run doubles, roughly
KINDS = frozenset({"progress", "metrics", "sample", "warning", "error", "stage", "sandbox"})
STAGES = {
    ("prepare", "started", None): "Reading, cleaning and packing the data",
    ("train", "started", None): "Training begins",
    ("train", "resumed", None): "Going on from the last checkpoint",
    ("save", "started", None): "Writing the weights and reading them back",
    ("evaluate", "started", "model"): "Putting the suite to the new model",
    ("evaluate", "started", "parent"): "Putting the suite to its parent",
    ("generate", "started", None): "Answering the prompts",
}

PASSED_ON = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "ENGINE_CHECKPOINT_S",
)  # nothing else of our environment

Event = dict[str, Any]


@dataclass
class Outcome:
    """How the engine ended: its exit code, its last error event, and the end of its stderr."""

    code: int
    error: Event | None = None
    stderr: str = ""
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
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def engine_threads() -> int:
    return int(os.environ.get("ENGINE_THREADS", 0)) or os.cpu_count() or 1


def start_engine(arguments: list[str], *, own: Path, reads: list[Path] = [], **popen: Any) -> subprocess.Popen[str]:  # noqa: B006
    """The engine in its sandbox and in a process group of its own."""
    own.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "training.sandbox", "--own", str(own)]
    for folder in reads:
        command += ["--reads", str(folder)]
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
    """Run the engine to its end. Raises JobCancelled, JobLost or JobRefused (memory) after stopping it."""
    log_path = own / "stderr.log"
    own.mkdir(parents=True, exist_ok=True)
    with log_path.open("w") as stderr:
        child = start_engine(arguments, own=own, reads=reads, stdin=subprocess.DEVNULL, stderr=stderr)
        lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        reader = threading.Thread(target=pump, args=(child, lines), daemon=True)
        reader.start()
        outcome = Outcome(code=-1)
        try:
            follow(lease, MemoryWatch(child.pid), lines, outcome, on_event)
            outcome.code = child.wait(30)
        except JobCancelled:
            stop_engine(child)
            raise
        finally:
            stop_engine(child, at_once=True)
            drain(lines, reader)
    outcome.stderr = log_path.read_text(errors="replace")[-MAX_STDERR:]
    return outcome


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


def relay(lease: Lease) -> Callable[[Event], None]:
    """Store the engine's events with the job, for the live pages; `progress` of the row says in words where it stands."""
    told = Pace()

    def store(event: Event) -> None:
        kind = event["event"]
        if kind not in KINDS or (kind == "metrics" and not told.is_due(event)):
            return
        data = {key: value for key, value in event.items() if key not in ("event", "kind", "time")}
        if kind == "progress":
            data["sentence"] = describe_event(event)
        lease.report(kind, **data)
        if kind in ("metrics", "stage") and (sentence := describe_event(event)):
            lease.note_progress(sentence=sentence, **count_steps(event))

    return store


class Pace:
    """Thins out metrics: dense while a run is young, never more than some thousands over its whole life."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()

    def is_due(self, event: Event) -> bool:
        now = time.monotonic()
        gap = max(MIN_GAP_S, (now - self.started) / POINTS_PER_AGE)
        if now - self.last < gap and event.get("step") not in (1, event.get("steps")):
            return False
        self.last = now
        return True


def count_steps(event: Event) -> dict[str, Any]:
    names = {"step": "done", "steps": "total", "eta_s": "eta_s"}
    return {new: event[old] for old, new in names.items() if event.get(old) is not None}


def describe_event(event: Event) -> str:
    """What the engine does just now, in words."""
    if event["event"] == "metrics":
        return f"Step {event.get('step'):,} of {event.get('steps'):,}"
    stage, state = event.get("stage"), event.get("state")
    if event["event"] == "stage":
        return STAGES.get((stage, state, event.get("role")), STAGES.get((stage, state, None), ""))
    if event.get("message"):
        return str(event["message"]).capitalize()
    if stage == "prepare" and "rows" in event:
        return f"Read and cleaned {event['rows']:,} rows"
    if "saved_step" in event:
        return f"Saved a checkpoint after step {event['saved_step']:,}"
    if "held_out_loss" in event:
        return f"Loss on rows kept aside: {event['held_out_loss']:.3f}"
    if stage == "evaluate":
        whose = "its parent" if event.get("role") == "parent" else "the new model"
        return f"Asking {whose}: {event.get('task')}, {event.get('done'):,} of {event.get('rows'):,}"
    if stage == "generate":
        return f"Answered {event.get('done'):,} of {event.get('total'):,} prompts"
    return ""


def require_success(outcome: Outcome) -> None:
    """Raise JobRefused with the engine's own sentence for bad input, JobRetry for a crash."""
    if outcome.code == 0:
        return
    message = (outcome.error or {}).get("message") or ""
    hint = (outcome.error or {}).get("hint") or ""
    if outcome.code == 2:
        raise JobRefused(message if hint and hint in message else " ".join(part for part in (message, hint) if part))
    last = outcome.stderr.strip().splitlines()[-1:] or ["it said nothing"]
    raise JobRetry(f"The training program stopped with code {outcome.code}: {message or last[0]}.")


__all__ = ["JobLost", "Outcome", "relay", "require_success", "start_engine", "stop_engine", "supervise"]
