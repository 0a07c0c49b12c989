"""From a checkout and a Python to a running site, and back to nothing. Slow: environments are made for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.site.bootstrap import processes
from hub.site.bootstrap.refusals import check_port
from hub.site.bootstrap.requirements import CHECKOUT, read_lock
from hub.site.bootstrap.setup_progress import read_json

pytestmark = pytest.mark.slow
BARE_PYTHON = os.path.realpath(sys.executable)  # outside every virtual environment


def clone(folder: Path, *, with_environment: bool) -> Path:
    """A copy of the files that git would bring; `with_environment` borrows the packages that are there."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    if with_environment:
        (folder / ".venv").symlink_to(sys.prefix)
    return folder


def make_torch_wheel(folder: Path, version: str) -> None:
    """A torch of 0 bytes, to see which one is chosen."""
    with zipfile.ZipFile(folder / f"torch-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("torch/__init__.py", f"__version__ = {version!r}\n")
        info = f"torch-{version}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def keep_only_torch(folder: Path) -> None:
    """Shorten the lock of a clone: what is tested is the choice of torch."""
    (folder / "requirements.lock").write_text("# --- web\n# --- models\ntorch>=2.11,<2.14\n# --- s3\n# --- test\n")


def prepare(folder: Path, python: str, *arguments: str, **environment: str) -> str:
    """Run `./manage.py prepare` and return what the torch of the environment says about itself."""
    command = [python, "manage.py", "prepare", *arguments]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})
    assert made.returncode == 0, made.stderr
    question = "import torch; print(torch.__version__, torch.__file__)"
    answer = subprocess.run([made.stdout.strip(), "-c", question], capture_output=True, text=True)
    return answer.stdout.strip()


def test_a_local_wheel_of_torch_is_preferred_to_a_newer_one_of_the_index(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone", with_environment=False)
    keep_only_torch(folder)
    for place, version in (("links", "2.12.0+cpu"), ("index/torch", "2.13.1")):
        (tmp_path / place).mkdir(parents=True)
        make_torch_wheel(tmp_path / place, version)
    wheel = "torch-2.13.1-py3-none-any.whl"
    (tmp_path / "index" / "torch" / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": (tmp_path / "index").as_uri()}
    found = prepare(folder, BARE_PYTHON, "--section", "models", **index, PIP_FIND_LINKS=str(tmp_path / "links"))
    assert found.startswith("2.12.0+cpu ")

    (tmp_path / "links" / "torch-2.12.0+cpu-py3-none-any.whl").unlink()
    shutil.rmtree(folder / ".venv")
    found = prepare(folder, BARE_PYTHON, "--section", "models", **index, PIP_FIND_LINKS=str(tmp_path / "links"))
    assert found.startswith("2.13.1 ")


def test_a_torch_in_range_that_is_present_is_kept(tmp_path: Path) -> None:
    folder = clone(tmp_path / "clone", with_environment=False)
    keep_only_torch(folder)
    make_torch_wheel(tmp_path, "2.11.0+cu128")
    outer = tmp_path / "outer"
    subprocess.run([sys.executable, "-m", "venv", str(outer)], check=True)
    pip = [str(outer / "bin" / "pip"), "install", "--no-index", str(next(tmp_path.glob("torch-*.whl")))]
    subprocess.run(pip, check=True, capture_output=True)
    # No index: anything that had to be fetched would fail.
    found = prepare(
        folder, str(outer / "bin" / "python"), PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE=os.devnull
    )
    assert found.startswith("2.11.0+cu128 ") and str(outer) in found


class Site:
    """`./manage.py up --no-demo` of a clone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data_dir = folder, folder / "data"
        self.port = check_port("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.port}/"

    def start(self) -> float:
        """Start, wait for the first page of the site itself, and return the seconds until then."""
        began = time.monotonic()
        environment = {
            name: value for name, value in os.environ.items() if name not in ("DATA_DIR", "CELERY_BROKER_URL")
        }
        command = [sys.executable, "manage.py", "up", "--no-demo", "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=self.folder, start_new_session=True, env=environment)
        while self.status() != 200:
            assert self.process.poll() is None and time.monotonic() - began < 300
            time.sleep(0.1)
        return time.monotonic() - began

    def status(self) -> int:
        try:
            with urllib.request.urlopen(self.address, timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as answer:
            return answer.code
        except OSError:
            return 0

    def state(self) -> dict[str, Any]:
        return read_json(self.data_dir / "hub.json") or {"children": {}}

    def wait_until_running(self) -> set[int]:
        deadline = time.monotonic() + 60
        while self.state().get("state") != "running":
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.1)
        return processes.descendants(self.process.pid)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(clone(tmp_path / "clone", with_environment=True))
    yield site
    everything = {site.process.pid, *processes.descendants(site.process.pid)}
    processes.send(signal.SIGTERM, [site.process.pid])
    try:
        site.process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        processes.send(signal.SIGKILL, everything)


def left(pids: set[int]) -> set[int]:
    return pids & set(processes._parents())


def test_ctrl_c_leaves_nothing_and_a_later_start_installs_nothing(site: Site) -> None:
    site.start()
    everything = site.wait_until_running()
    workers = {f"worker-{name}" for name in ("quick", "default", "chat", "cpu")}
    assert set(site.state()["children"]) >= {"valkey", "web", "listener", "sweeper"} | workers
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(timeout=30) == 0
    assert not left(everything)
    assert not (site.data_dir / "hub.json").exists()

    # Under 10 s on two quiet cores (docs/experiments.md); several times that would be a start that installs or compiles again.
    assert site.start() < 60


def test_every_child_comes_back_after_kill_9(site: Site) -> None:
    site.start()
    site.wait_until_running()
    for name, pid in site.state()["children"].items():
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while site.state()["children"].get(name) in (None, pid):
            assert time.monotonic() < deadline, name
            time.sleep(0.05)
    deadline = time.monotonic() + 30
    while site.status() != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("victim", ["pid", "supervisor_pid"])
def test_kill_9_of_the_start_itself_leaves_nothing(site: Site, victim: str) -> None:
    site.start()
    everything = site.wait_until_running()
    os.kill(site.state()[victim], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while left(everything):
        assert time.monotonic() < deadline, left(everything)
        site.process.poll()
        time.sleep(0.1)
    site.process.wait()
    assert site.start() < 20  # and nothing stands in the way of the next one


def test_the_first_section_alone_brings_the_site_up(tmp_path: Path) -> None:
    """A fresh environment with what `up` installs first answers Django's own check."""
    folder = clone(tmp_path / "clone", with_environment=False)
    made = subprocess.run(
        [BARE_PYTHON, "manage.py", "check", "--data-dir", str(tmp_path / "data")],
        cwd=folder, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    listed = subprocess.run([folder / ".venv/bin/python", "-m", "pip", "list", "--format", "json"], capture_output=True)
    installed = {one["name"].lower().replace("_", "-").replace(".", "-") for one in json.loads(listed.stdout)}
    lock = read_lock()
    assert {one.name for one in lock["web"]} <= installed
    assert not {"torch", "transformers", "pytest"} & installed
