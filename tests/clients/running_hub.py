"""A hub as people run it: granian over the site, on a data folder of its own, driven from outside like by any client."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
TOKENS = {name: f"hf_{name}{'0' * 24}" for name in ("alice", "bob", "charlie")}
START_S = 60.0
LFS_FILTER = {
    "filter.lfs.process": "git-lfs filter-process",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.required": "true",
}
PREPARE = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
for name, token in TOKENS.items():
    call_command("account", "create", name, password=name + "-tides-2026", token=token, verbosity=0)
"""


def build_environment(data_dir: Path, **more: str) -> dict[str, str]:
    """For processes of the hub: its data folder, and no queue to talk to."""
    ours = {"DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "hub.site.settings", "CELERY_BROKER_URL": "memory://"}
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **ours, **more}


def prepare_data(data_dir: Path) -> None:
    """An empty hub with the accounts of Alice, Bob and Charlie, whose tokens are TOKENS."""
    data_dir.mkdir(parents=True)
    code = f"TOKENS = {TOKENS!r}\n{PREPARE}"
    subprocess.run([sys.executable, "-c", code], env=build_environment(data_dir), cwd=ROOT, check=True)


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningHub:
    """Two workers with two threads each, as `./manage.py up` starts them. `kill` is SIGKILL for all of them."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.settings = settings  # environment variables besides DATA_DIR
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the site answers."""
        from hub.site.bootstrap import services

        web = services.web("127.0.0.1", self.port)
        environment = build_environment(self.data_dir, **{**web.env, **self.settings})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                web.command, env=environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, self.read_log()[-3000:]
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/api/agent-harnesses", timeout=20).status_code < 500
        except requests.RequestException:
            return False

    @property
    def log_path(self) -> Path:
        return self.data_dir / "web.log"

    def read_log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """End the server and its workers at once, wherever they are."""
        self._send(signal.SIGKILL)

    def stop(self) -> None:
        self._send(signal.SIGTERM)

    def _send(self, number: int) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # -- looking behind the doors ------------------------------------------------------------------------------------

    def run(self, code: str) -> str:
        """What `code` prints in a process of the hub, beside the running server."""
        command = [sys.executable, "-c", "import django; django.setup()\n" + code]
        done = subprocess.run(
            command, env=build_environment(self.data_dir, **self.settings), cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the hub's own database."""
        with sqlite3.connect(f"file:{self.data_dir}/db.sqlite3?mode=ro", uri=True, timeout=20) as database:
            return database.execute(sql, values).fetchall()

    def git_folder(self, name: str, half: str = "members") -> Path:
        """The bare repository of alice's repository `name`."""
        ((key,),) = self.query("SELECT key FROM hub_repo WHERE name = ?", name)
        return self.data_dir / "git" / key[:2] / key / f"{half}.git"

    def git_in(self, name: str, *arguments: str, half: str = "members") -> str:
        folder = str(self.git_folder(name, half))
        done = subprocess.run(["git", "--git-dir", folder, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    # -- clients -----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, *, person: str | None = None, **more: Any) -> requests.Response:
        """One request as curl would send it."""
        headers = {**({"Authorization": f"Bearer {TOKENS[person]}"} if person else {}), **more.pop("headers", {})}
        address = path if path.startswith("http") else self.url + path
        return requests.request(method, address, headers=headers, timeout=60, allow_redirects=False, **more)

    def commit(self, path: str, *lines: Mapping[str, Any], person: str = "alice", **header: Any) -> requests.Response:
        """POST a commit with these operations to the API address `path`."""
        first = {"key": "header", "value": {"summary": "By hand", **header}}
        body = b"".join(json.dumps(line).encode() + b"\n" for line in (first, *lines))
        return self.call("POST", path, person=person, data=body, headers={"Content-Type": "application/x-ndjson"})


def git(
    *arguments: str, cwd: Path | None = None, with_lfs: bool = False, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """The stock git, with nobody's configuration, asking nobody for a password."""
    settings = {"user.name": "Somebody", "user.email": "s@example.org", "init.defaultBranch": "main"}
    settings |= LFS_FILTER if with_lfs else {}
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(cwd or "/nonexistent"), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "NO_PROXY": "127.0.0.1",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }  # fmt: skip
    for number, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    done = subprocess.run(["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert not check or done.returncode == 0, done.stderr
    return done


def remote(hub: RunningHub, path: str, person: str | None = None) -> str:
    """Address of a repository for git, with a token in it as people paste it."""
    signed = f"//{person}:{TOKENS[person]}@" if person else "//"
    return hub.url.replace("//", signed, 1) + path
