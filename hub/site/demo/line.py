"""A hub started as its operator would, and people who act upon it through its public doors: the stock client and REST."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.site.bootstrap import launch
from hub.site.demo.people import Person

START_S = 240
POLL_S = 1.0


class StationFailed(Exception):
    """A station did not happen; str() says which and what was seen instead."""


@dataclass
class Station:
    number: int
    name: str
    digest: str = ""
    seconds: float = 0.0
    note: str = ""


@dataclass
class Line:
    """The walk: where the hub is, who has which token, and what has happened."""

    folder: Path  # scratch of the people, not of the hub
    data_dir: Path
    say: Callable[[str], None]
    port: int = 0
    tokens: dict[str, str] = field(default_factory=dict)
    stations: list[Station] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def station(self, name: str) -> Iterator[Station]:
        station = Station(len(self.stations) + 1, name)
        started = time.monotonic()
        try:
            yield station
        except StationFailed as problem:
            raise StationFailed(f"Station {station.number} ({name}): {problem}") from None
        station.seconds = time.monotonic() - started
        self.stations.append(station)
        self.say(f"{station.number:>2}  {name:<34} {station.digest[:22]:<23} {station.seconds:7.1f} s  {station.note}")

    def api(self, method: str, path: str, by: Person | None = None, body: Any = None) -> Any:
        """JSON of an address under /api/v1/. Raises StationFailed with the hub's own sentence."""
        headers = {"Content-Type": "application/json"}
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens[by.name]}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/v1/{path}", data, headers, method=method)
        try:
            with open_direct(request, 120) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as problem:
            raise StationFailed(f"{method} {path} -> {problem.code} {problem.read()[:1000].decode()}") from None

    def status(self, path: str, by: Person | None = None) -> int:
        headers = {"Authorization": f"Bearer {self.tokens[by.name]}"} if by else {}
        try:
            with open_direct(urllib.request.Request(self.address + path, headers=headers), 60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as problem:
            return problem.code

    def run(self, by: Person, *command: str) -> str:
        """A stock program as a person would start it: HF_ENDPOINT and a token, nothing else."""
        home = self.folder / f"home-{by.name}"
        environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH")},
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": self.address,
            "HF_TOKEN": self.tokens[by.name],
            "NO_PROXY": "127.0.0.1,localhost",
            "GIT_TERMINAL_PROMPT": "0",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise StationFailed(
                f"{' '.join(command[:4])} exited {done.returncode}: {(done.stderr or done.stdout)[-1000:]}"
            )
        return done.stdout

    def hf(self, by: Person, *arguments: str) -> str:
        return self.run(by, str(Path(sys.executable).parent / "hf"), *arguments)

    def client(self, by: Person | None) -> Any:
        """HfApi of the stock client; None is somebody without an account."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.address, token=self.tokens[by.name] if by else False)


def open_direct(request: urllib.request.Request, timeout: float) -> Any:
    """Without proxies: the hub is on this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


def free_port() -> int:
    """A port whose neighbour is free too: the listener takes it."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return int(port)
    raise StationFailed("No two free ports next to each other were found.")


def clean_environment() -> dict[str, str]:
    """Without what was set for this process or another hub: the demo's has a folder, a broker and an address of its own."""
    ours = ("DATA_DIR", "CELERY_BROKER_URL", "LISTENER_URL", "DATABASE_URL", "PUBLIC_URL", "ALLOWED_HOSTS")
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextmanager
def running_hub(line: Line) -> Iterator[None]:
    """`./manage.py up --no-demo` as its operator starts it, stopped as with Ctrl-C."""
    line.port = free_port()
    log = (line.folder / "up.log").open("w")
    # Through the launcher: the hub goes when this process goes, however that happens.
    launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
    command = [*launcher, sys.executable, str(settings.BASE_DIR / "manage.py"), "up", "--no-demo"]
    command += ["--port", str(line.port)]
    process = subprocess.Popen(
        [*command, "--data-dir", str(line.data_dir)],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=clean_environment(),
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(line, process), START_S, "the hub did not start; see " + str(log.name))
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def answers(line: Line, process: "subprocess.Popen[bytes]") -> bool:
    if process.poll() is not None:
        raise StationFailed((line.folder / "up.log").read_text()[-1000:])
    try:
        return line.status("/api/v1/repos") == 200 and engines_are_up(line)
    except OSError:
        return False


def engines_are_up(line: Line) -> bool:
    try:
        return "worker-cpu" in json.loads((line.data_dir / "hub.json").read_text())["children"]
    except (OSError, ValueError, KeyError):
        return False


def wait_until(condition: Callable[[], Any], limit_s: float, failure: str) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(POLL_S)
    raise StationFailed(f"{failure} (waited {limit_s:.0f} s)")


def operate(line: Line, *arguments: str) -> None:
    """An operator command, while the site runs."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments, "--data-dir", str(line.data_dir)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise StationFailed(f"manage.py {arguments[0]} exited {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
