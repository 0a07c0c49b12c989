"""The sandbox of the engine, tried from inside: no network, no secrets, no life after its worker."""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.workers.worker import environment

CHECKOUT = Path(__file__).resolve().parents[2]
# In place of the engine: a program of the same name that tells what it can reach.
SPY = """
import json, os, resource, socket, sys, time

def reaches_network():
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2):
            return True
    except OSError:
        return False

print(json.dumps({
    "network": reaches_network(), "environment": sorted(os.environ), "uid": os.getuid(), "groups": os.getgroups(),
    "oom_score": int(open("/proc/self/oom_score_adj").read()),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
    "new_privileges": [l.split()[1] for l in open("/proc/self/status") if l.startswith("NoNewPrivs")],
}), flush=True)
open("written", "w").write("by the engine")
if "stay" in sys.argv:
    time.sleep(60)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user of the system may enter, with a stand-in for the engine in it."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        package = place / "code" / "training"
        (package / "engine").mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "engine" / "__init__.py").touch()
        (package / "engine" / "__main__.py").write_text(textwrap.dedent(SPY))
        (package / "workers").mkdir()
        (package / "workers" / "__init__.py").touch()
        (package / "workers" / "sandbox.py").write_bytes((CHECKOUT / "training/workers/sandbox.py").read_bytes())
        (place / "out").mkdir()
        yield place


def everybodys_python() -> str:
    """An interpreter that other users can run too; this environment's own may lie where only root reads."""
    system = Path("/usr/bin/python3")
    return str(system) if os.geteuid() == 0 and system.exists() else sys.executable


def command(place: Path, *arguments: str) -> list[str]:
    return [everybodys_python(), "-m", "training.workers.sandbox", "--own", str(place / "out"), "--", *arguments]


def spy(place: Path, port: int) -> tuple[dict[str, object], dict[str, object]]:
    """(what the sandbox says, what the program inside found)"""
    env = {**environment(1), "PYTHONPATH": str(place / "code")}
    done = subprocess.run(
        command(place, str(port)), env=env, cwd=place / "out", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    said, found = map(json.loads, done.stdout.splitlines())
    return said, found


def test_the_engine_has_no_network_no_secret_and_little_power(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("SECRET_KEY", "of-the-hub")
    monkeypatch.setenv("HF_TOKEN", "of-the-operator")
    with socket.create_server(("127.0.0.1", 0)) as server:
        said, found = spy(place, server.getsockname()[1])
    if said["network"] and os.geteuid() != 0:
        pytest.skip("this system gives unprivileged programs no network namespace")
    assert (said["network"], found["network"]) == (False, False)
    assert not {"SECRET_KEY", "HF_TOKEN", "DATA_DIR", "DJANGO_SETTINGS_MODULE"} & set(found["environment"])  # type: ignore[call-overload]
    assert found["core"] == 0 and found["new_privileges"] == ["1"]
    assert found["oom_score"] == 1000  # the system ends it first when memory runs out
    assert (place / "out" / "written").read_text() == "by the engine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_root_worker_gives_the_engine_a_user_of_its_own(place: Path) -> None:
    said, found = spy(place, 1)
    assert said["own_user"], "no interpreter here can be read by other users: apt-get install python3"
    assert found["uid"] == 65534 and found["groups"] == []
    assert (place / "out" / "written").stat().st_uid == 65534


def test_the_engine_dies_with_its_worker(place: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command(place, '1', 'stay')!r}, cwd={str(place / 'out')!r}, start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    env = {**environment(1), "PYTHONPATH": str(place / "code")}
    worker = subprocess.Popen([sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    engine = int(worker.stdout.readline())
    while '"uid"' not in worker.stdout.readline():
        pass
    assert Path(f"/proc/{engine}").exists()
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and is_alive(engine):
        time.sleep(0.05)
    assert not is_alive(engine)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
