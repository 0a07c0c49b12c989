"""Models that stay open between questions: a chat engine as a child of the worker, the one asked last.

A worker process keeps one, and lets it go after a pause. The child dies with its worker (training.workers.sandbox)."""

import atexit
import json
import logging
import os
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings

from hub.common.jobs import JobRefused, JobRetry, Lease
from training.workers.worker import POLL_S, drain, pump, read_event, start_engine, stop_engine

log = logging.getLogger(__name__)

IDLE_S = 300  # after which a warm model is let go


class WarmModel:
    """A chat engine as a child of this worker, with one model open."""

    def __init__(self, folder: Path):
        self.folder = folder
        own = Path(settings.DATA_DIR) / "runs" / f"chat-{os.getpid()}"
        own.mkdir(parents=True, exist_ok=True)
        self.log = own / "stderr.log"
        with self.log.open("w") as stderr:
            self.child = start_engine(
                ["chat", "--model", str(folder)], own=own, reads=[folder], stdin=subprocess.PIPE, stderr=stderr
            )
        self.lines: queue.Queue[str | None] = queue.Queue(maxsize=10_000)
        self.reader = threading.Thread(target=pump, args=(self.child, self.lines), daemon=True)
        self.reader.start()
        self.used_at = time.monotonic()

    @property
    def is_alive(self) -> bool:
        return self.child.poll() is None

    def wait_until_ready(self, lease: Lease) -> None:
        while True:
            event = read_event(self.next_line(lease))
            if event is not None and event["event"] == "error":
                raise JobRefused(str(event.get("message") or "The model cannot be opened."))
            if event is not None and event.get("state") == "ready":
                return

    def next_line(self, lease: Lease) -> str:
        """The next line of the engine. Raises JobRetry when it has ended."""
        while True:
            lease.check()
            self.used_at = time.monotonic()
            try:
                line = self.lines.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if line is None:
                log.warning("A model stopped while it was answering: %s", self.log.read_text(errors="replace").strip())
                raise JobRetry(
                    "The model stopped while it was answering; the log of the worker holds what it last said."
                )
            return line

    def ask(self, lease: Lease, messages: list[dict[str, str]], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Records of one answer: {"token"}, ..., {"done", "text", "tokens", "seconds"}."""
        name = f"{lease.job.pk}:{lease.fencing}"
        self.send({"id": name, "messages": messages, **options})
        is_over = False
        try:
            while not is_over:
                record = json.loads(self.next_line(lease))
                if record.get("id") != name:
                    continue  # what is left of a question that was given up
                is_over = "error" in record or bool(record.get("done"))
                if "error" in record:
                    raise JobRefused(record["error"]["message"])
                yield record
        finally:
            if not is_over and self.is_alive:
                self.send({"id": name, "cancel": True})

    def send(self, record: dict[str, Any]) -> None:
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps(record) + "\n")
            self.child.stdin.flush()
        except OSError as problem:
            raise JobRetry(f"The model stopped: {problem}") from None

    def close(self) -> None:
        stop_engine(self.child, at_once=True)
        drain(self.lines, self.reader)
        self.child.wait()


_warm: WarmModel | None = None
_door = threading.Lock()


def open_warm(lease: Lease, folder: Path) -> WarmModel:
    """The model of this folder, warm or opened now in place of the one before."""
    global _warm
    with _door:
        if _warm is not None and _warm.is_alive and _warm.folder == folder:
            _warm.used_at = time.monotonic()
            return _warm
        close_warm()
        model = WarmModel(folder)
        try:
            model.wait_until_ready(lease)
        except BaseException:
            model.close()
            raise
        _warm = model
    watch_idleness(model)
    return model


def watch_idleness(model: WarmModel) -> None:
    """Let the model go when nobody has asked it for a while."""

    def look() -> None:
        while model.is_alive:
            left = IDLE_S - (time.monotonic() - model.used_at)
            if left <= 0:
                with _door:
                    if _warm is model:
                        close_warm()
                return
            time.sleep(min(left, 5) + 0.01)

    threading.Thread(target=look, daemon=True).start()


def close_warm() -> None:
    global _warm
    if _warm is not None:
        _warm.close()
        _warm = None


atexit.register(close_warm)
