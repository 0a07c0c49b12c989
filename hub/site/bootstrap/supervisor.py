"""Keeps children alive: starts them, restarts the dead with growing pauses, and stops all with nothing left."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hub.site.bootstrap import processes
from hub.site.bootstrap.logs import trim_logs

TICK_S = 0.1
FIRST_PAUSE_S = 0.2  # a single crash should hardly be noticed
LONGEST_PAUSE_S = 30.0
STEADY_S = 20.0  # a child that lived this long starts again with the first pause


@dataclass(frozen=True)
class ChildSpec:
    name: str  # also names its log
    command: tuple[str, ...]
    stops_last: bool = False  # others still need it while they stop
    env: Mapping[str, str] = field(default_factory=dict)  # beyond the common environment


class StopRequested(Exception):
    """Somebody wants the end: Ctrl-C, SIGTERM, or the process in front is gone."""


@dataclass
class _Child:
    spec: ChildSpec
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0


def pause_s(deaths: int) -> float:
    """Seconds to wait before a start after so many deaths in a row."""
    return min(FIRST_PAUSE_S * 2.0 ** min(deaths - 1, 10), LONGEST_PAUSE_S)


class Supervisor:
    def __init__(
        self,
        *,
        env: Mapping[str, str],
        cwd: Path,
        logs: Path,
        parent_pid: int | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`parent_pid`: the process that must live on for this one to go on; `on_change` runs after each (re)start."""
        logs.mkdir(parents=True, exist_ok=True)
        self._env, self._cwd, self._logs, self._parent_pid, self._on_change = env, cwd, logs, parent_pid, on_change
        self._children: dict[str, _Child] = {}
        self._stop_requested = False
        self._logs_checked_at = 0.0
        processes.adopt_orphans()

    def obey_signals(self) -> None:
        """Let SIGINT, SIGTERM and SIGHUP end `tick` with StopRequested."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.request_stop())

    def request_stop(self) -> None:
        self._stop_requested = True

    def pids(self) -> dict[str, int]:
        return {name: child.process.pid for name, child in self._children.items() if child.process}

    def start(self, spec: ChildSpec) -> None:
        """Start a child that is to live until `stop`."""
        child = self._children[spec.name] = _Child(spec)
        self._spawn(child)

    def run_once(self, spec: ChildSpec, *, meanwhile: Callable[[], None] = lambda: None) -> int:
        """Run a command to its end while the others stay supervised; returns its exit code, negative for a signal."""
        process = self._launch(spec)
        try:
            while (code := process.poll()) is None:
                meanwhile()
                self.tick(process.pid)
            return code
        finally:
            processes.kill_group(process.pid)

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        """Supervise until `condition` holds; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.tick()
        return True

    def run_forever(self) -> None:
        while True:
            self.tick()

    def tick(self, *also_own: int) -> None:
        """One look at all children, then a short sleep. Raises StopRequested when the end is wanted."""
        if self._stop_requested or (self._parent_pid is not None and os.getppid() != self._parent_pid):
            raise StopRequested
        now = time.monotonic()
        for child in self._children.values():
            self._look_after(child, now)
        own = {*self.pids().values(), *also_own}
        processes.kill_orphans(own)
        processes.reap_orphans(own)
        if now - self._logs_checked_at > 30:
            self._logs_checked_at = now
            trim_logs(self._logs)
        time.sleep(TICK_S)

    def stop(self, *, grace_s: float = 5.0) -> None:
        """End all children and everything they started: politely first, by force after `grace_s` seconds."""
        for last in (False, True):
            wave = [c.process for c in self._children.values() if c.process and c.spec.stops_last == last]
            processes.send(signal.SIGTERM, [process.pid for process in wave if process.poll() is None])
            deadline = time.monotonic() + (2.0 if last else grace_s)
            while any(process.poll() is None for process in wave) and time.monotonic() < deadline:
                time.sleep(0.02)
            for process in wave:
                processes.kill_group(process.pid)
        # Sessions of their own (a training run) do not hear the group's signals.
        processes.end_descendants(grace_s=0.0)
        self._children.clear()

    def _look_after(self, child: _Child, now: float) -> None:
        if child.process is None:
            if now >= child.restart_at:
                self._spawn(child)
            return
        code = child.process.poll()
        if code is None:
            return
        # Its workers may still hold the port or the queue: they go first.
        processes.kill_group(child.process.pid)
        child.process = None
        child.deaths = 1 if now - child.started_at > STEADY_S else child.deaths + 1
        child.restart_at = now + pause_s(child.deaths)
        self._note(child.spec, f"ended with {code}; starts again in {pause_s(child.deaths):.1f} s")

    def _spawn(self, child: _Child) -> None:
        child.process = self._launch(child.spec)
        child.started_at = time.monotonic()
        self._on_change()

    def _launch(self, spec: ChildSpec) -> "subprocess.Popen[bytes]":
        self._note(spec, "starts")
        log = self._logs / f"{spec.name}.log"
        return processes.start(list(spec.command), env={**self._env, **spec.env}, cwd=self._cwd, log=log)

    def _note(self, spec: ChildSpec, what: str) -> None:
        with open(self._logs / "supervisor.log", "a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {spec.name} {what}\n")
