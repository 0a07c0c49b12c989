"""Hostile files are screened in a process that another one watches, and by the public door they reach nobody."""

import json
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.moderation.screens.hostile import BENIGN, HOSTILE
from tests.moderation.screens.makers import CANARY, Dial, Shell, Write
from tests.moderation.screens.watching import CANNOT_WATCH

ROOT = Path(__file__).parents[3]
BUDGET_S = 15.0
LIMIT_S = 300.0  # of all files
FULL_ONLY = {"not_finite"}  # every number is read by the full screen
MAX_BYTES = 300 << 20  # what one file may add to the screening process
MAX_CHILD_BYTES = 1536 << 20  # of a reader of tables or templates; its own limit is on addresses
MAX_CHILD_CPU_S = 10.0  # its own limit follows the budget
CHILDREN = ("moderation/screens/template_child.py", "moderation/screens/parquet_child.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and ptrace are Linux's")


@dataclass
class Watched:
    """One file: what the screens said of it, and what the watcher saw meanwhile."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    took_s: float = 0.0
    peak_bytes: int = 0
    child_bytes: int = 0
    child_cpu_s: float = 0.0


def run_watched(files: dict[str, tuple[bytes, bool]], folder: Path, *arguments: str) -> dict[str, Watched]:
    """Name -> what came of each file, as (bytes, quick). The process works in `folder`, which it must leave empty."""
    log = folder.parent / "calls.jsonl"
    program = [sys.executable, "-m", "tests.moderation.screens.watched", *arguments]
    watcher = [sys.executable, "-m", "tests.moderation.screens.watching", str(log), *program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    told: dict[str, Watched] = {}
    with subprocess.Popen(watcher, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder, env=environment) as ran:
        assert ran.stdin and ran.stdout
        clock = threading.Timer(LIMIT_S, ran.kill)
        clock.start()
        for name, (data, quick) in files.items():
            asked = {"name": name, "size": len(data), "quick": quick, "budget_s": BUDGET_S}
            ran.stdin.write(json.dumps(asked).encode() + b"\n" + data)
            ran.stdin.flush()
            said = ran.stdout.readline()
            assert said, (
                f"the watched ended at {name} (status {ran.wait()}; {CANNOT_WATCH}: this machine lets none be traced)"
            )
            told[name] = Watched(findings=json.loads(said))
        ran.stdin.close()
        ran.wait()
        clock.cancel()
    assert ran.returncode == 0
    read_log(log, told)
    return told


def read_log(log: Path, told: dict[str, Watched]) -> None:
    now, began_s = Watched(), 0.0
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event.get("mark"):
            now, began_s = told[event["mark"]], event["at"]
        elif "mark" in event:
            now.took_s, now.peak_bytes = event["at"] - began_s, event["peak"]
            now = Watched()
        elif "exit" in event:
            now.child_bytes = max(now.child_bytes, event["exit"])
            now.child_cpu_s = max(now.child_cpu_s, event["cpu_s"])
        else:
            now.calls.append(event)


def is_of_the_screens(call: dict[str, Any]) -> bool:
    """The two readers that the screens start, and the sink for what those complain about."""
    if call["call"] == "execve":
        return call["path"] == sys.executable and any(str(ROOT / child) in call["argv"] for child in CHILDREN)
    return call.get("path") == os.devnull


def test_the_watcher_sees_what_a_pickle_does_when_it_is_loaded(tmp_path: Path) -> None:
    (folder := tmp_path / "work").mkdir()
    files = {
        name: (pickle.dumps(payload, 4), True) for name, payload in (("a", Shell()), ("b", Dial()), ("c", Write()))
    }
    told = run_watched(files, folder, "--load")
    assert any("touch" in word for call in told["a"].calls for word in call.get("argv", []))
    assert {"socket", "connect"} <= {call["call"] for call in told["b"].calls}
    assert [call["path"] for call in told["c"].calls] == [CANARY]
    assert (folder / CANARY).exists()


def test_hostile_files_run_nothing_and_honest_ones_pass_seen_from_outside(tmp_path: Path) -> None:
    """Programs, sockets and files are seen by the kernel's filter, memory and time by its books; no rule is trusted
    to say of itself that it did nothing."""
    (folder := tmp_path / "work").mkdir()
    first = {"first.txt": (b"The tide turns.\n", False), "first.pkl": (HOSTILE["plain.pkl"][0](), True)}  # imports
    hostile = {name: (make(), rule not in FULL_ONLY) for name, (make, rule) in HOSTILE.items()}
    benign = {name: (make(), False) for name, make in BENIGN.items()}
    assert len(hostile) >= 60 and len(benign) >= 20
    told = run_watched({**first, **hostile, **benign}, folder)
    assert not list(folder.iterdir())
    problems: list[str] = []
    for name in [*hostile, *benign]:
        seen = told[name]
        problems += [f"{name}: {call}" for call in seen.calls if not is_of_the_screens(call)]
        if not 0 < seen.took_s < BUDGET_S + 1 or seen.child_cpu_s > MAX_CHILD_CPU_S:
            problems.append(f"{name}: {seen.took_s:.1f} s, {seen.child_cpu_s:.1f} s of a child's")
        if seen.child_bytes > MAX_CHILD_BYTES:
            problems.append(f"{name}: {seen.child_bytes >> 20} MiB of a child")
        refused = {finding["rule"] for finding in seen.findings if finding["severity"] != "info"}
        if name in HOSTILE and HOSTILE[name][1] not in refused:
            problems.append(f"{name}: not refused by {HOSTILE[name][1]}, but {seen.findings}")
        if name in BENIGN and refused:
            problems.append(f"{name}: refused by {refused}")
    base = min(told[name].peak_bytes for name in [*hostile, *benign])
    problems += [
        f"{name}: {seen.peak_bytes - base >> 20} MiB more"
        for name, seen in told.items()
        if seen.peak_bytes - base > MAX_BYTES
    ]
    assert not problems, "\n".join(problems)
