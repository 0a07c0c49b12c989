"""Several processes of one command: they begin, end and die together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training.engine import launch

WAIT_S = 20


def start(ranks: int, code: str, folder: Path) -> subprocess.Popen[str]:
    """A launcher of small programs; each writes its process id first."""
    program = f"import os, sys, time, signal; rank = int(os.environ['RANK']); open(rank.__str__(), 'w').write(str(os.getpid()))\n{code}"
    starter = f"import sys; from training.engine.launch import launch; sys.exit(launch([sys.executable, '-S', '-c', {program!r}], {ranks}))"
    root = str(Path(launch.__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", starter],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root, "ENGINE_THREADS": "8"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def pids(folder: Path, ranks: int) -> list[int]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        texts = [(folder / str(rank)).read_text() if (folder / str(rank)).exists() else "" for rank in range(ranks)]
        if all(texts):
            return [int(text) for text in texts]
        time.sleep(0.02)
    raise AssertionError("the ranks did not start")


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_every_rank_knows_its_number_and_gets_its_share_of_the_threads(tmp_path):
    names = ("WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "MASTER_ADDR")
    process = start(2, f"print(rank, *(os.environ[n] for n in {names!r}), flush=True)", tmp_path)
    assert process.wait(WAIT_S) == 0
    assert sorted(process.stdout.read().splitlines()) == ["0 2 0 2 4 127.0.0.1", "1 2 1 2 4 127.0.0.1"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("sys.exit(2 if rank else 0)", 2),
        ("if rank == 0: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)", -signal.SIGKILL),
    ],
    ids=["refused", "killed"],
)
def test_where_one_fails_all_end_and_the_launcher_ends_as_it_did(tmp_path, code, expected):
    process = start(2, code, tmp_path)
    ranks = pids(tmp_path, 2)
    assert process.wait(WAIT_S) == expected
    assert all(is_gone(pid) for pid in ranks)


def test_a_signal_reaches_all_and_each_may_finish_what_it_does(tmp_path):
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nopen(f'ready{rank}', 'w').write('y')\ntime.sleep(60)"
    )
    process = start(2, code, tmp_path)
    ranks = pids(tmp_path, 2)
    while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
        time.sleep(0.02)
    process.terminate()
    assert process.wait(WAIT_S) == 143 and all(is_gone(pid) for pid in ranks)


def test_no_rank_outlives_its_launcher(tmp_path):
    process = start(2, "time.sleep(60)", tmp_path)
    ranks = pids(tmp_path, 2)
    process.kill()
    process.wait(WAIT_S)
    assert all(is_gone(pid) for pid in ranks)
