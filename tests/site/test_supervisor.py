"""Children die, are killed, or refuse to go; nothing is lost and nothing is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.site.bootstrap import processes
from hub.site.bootstrap.logs import trim_logs
from hub.site.bootstrap.requirements import CHECKOUT
from hub.site.bootstrap.setup_progress import read_json
from hub.site.bootstrap.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help against orphans is Linux'")


class Hub:
    """The processes of tests.site.supervised, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "tests.site.supervised", str(folder)]
        self.process = subprocess.Popen(command, cwd=CHECKOUT, start_new_session=True)

    def state(self) -> dict[str, Any]:
        return read_json(self.folder / "state.json") or {"children": {}}

    def offspring(self) -> set[int]:
        return processes.descendants(self.process.pid)


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def living(pids: set[int]) -> set[int]:
    return pids & set(processes._parents())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    # supervisor, plain, stubborn, and the one that stubborn started
    assert wait_for(lambda: len(hub.state()["children"]) == 2 and len(hub.offspring()) == 4)
    everything = hub.offspring()
    yield hub
    everything |= hub.offspring()
    processes.send(signal.SIGKILL, living({hub.process.pid, *everything}))
    hub.process.wait()


def test_a_killed_child_starts_again(hub: Hub) -> None:
    before = hub.state()["children"]
    os.kill(before["plain"], signal.SIGKILL)
    assert wait_for(lambda: hub.state()["children"].get("plain") not in (None, before["plain"]))
    assert wait_for(lambda: hub.state()["children"]["plain"] in living(hub.offspring()))
    assert hub.state()["children"]["stubborn"] == before["stubborn"]
    assert "plain ended with -9; starts again" in (hub.folder / "logs" / "supervisor.log").read_text()


def test_what_a_killed_child_had_started_goes_with_it(hub: Hub) -> None:
    stubborn = hub.state()["children"]["stubborn"]
    [started] = processes.descendants(stubborn)
    os.kill(stubborn, signal.SIGKILL)
    assert wait_for(lambda: not living({stubborn, started}))
    assert wait_for(lambda: len(hub.offspring()) == 4)  # the new ones


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_within_ten_seconds(hub: Hub, number: int) -> None:
    everything = hub.offspring()
    hub.process.send_signal(number)
    assert hub.process.wait(timeout=10) == 0
    assert not living(everything)


def test_nothing_is_left_when_the_process_in_front_is_killed(hub: Hub) -> None:
    everything = hub.offspring()
    hub.process.kill()
    hub.process.wait()
    assert wait_for(lambda: not living(everything))


def test_nothing_is_left_when_the_supervisor_is_killed(hub: Hub) -> None:
    everything = hub.offspring()
    os.kill(hub.state()["supervisor"], signal.SIGKILL)
    assert hub.process.wait(timeout=10) == 1
    assert not living(everything)


def test_the_output_of_a_child_is_kept(hub: Hub) -> None:
    assert wait_for(lambda: "here" in (hub.folder / "logs" / "plain.log").read_text())


def test_pauses_grow_from_hardly_noticeable_to_half_a_minute() -> None:
    pauses = [pause_s(deaths) for deaths in range(1, 40)]
    assert pauses[0] == FIRST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S


def test_a_long_log_is_cut_while_its_writer_goes_on(tmp_path: Path) -> None:
    with open(tmp_path / "web.log", "ab", buffering=0) as writer:
        writer.write(b"old\n" * 10)
        trim_logs(tmp_path, max_bytes=20)
        writer.write(b"new\n")
    assert (tmp_path / "web.log").read_bytes() == b"new\n"
    assert (tmp_path / "web.log.1").read_bytes() == b"old\n" * 10
