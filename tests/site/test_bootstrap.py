"""The part that runs before there is anything: plain Python, a page of progress, commands that find their folder."""

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub.site.bootstrap import commands, environment, packages, services
from hub.site.bootstrap.commands import take_data_dir
from hub.site.bootstrap.options import Options
from hub.site.bootstrap.packages import Program, ensure_programs
from hub.site.bootstrap.progress_page import ProgressPage, render
from hub.site.bootstrap.refusals import Refusal, check_port
from hub.site.bootstrap.requirements import CHECKOUT, read_lock
from hub.site.bootstrap.setup_progress import SetupProgress, Step, read_json, write_json
from hub.site.bootstrap.start import RETRY_S, Start
from hub.site.bootstrap.supervisor import ChildSpec


def test_the_bootstrap_runs_on_the_standard_library_alone() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); from hub.site.bootstrap.commands import main; main(['--help'])"
    # -S: no site-packages at all
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, str(CHECKOUT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "./manage.py up" in done.stdout


def test_the_site_loads_with_the_first_section_alone(tmp_path: Path) -> None:
    """Its processes start while the engine's packages are still being installed."""
    code = """
import sys
from importlib import metadata
absent = set(sys.argv[2].split(","))
names = {name for name, owners in metadata.packages_distributions().items()
         if {owner.lower().replace("_", "-").replace(".", "-") for owner in owners} <= absent}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r} (not in the web section)", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
import hub.site.wsgi, hub.site.asgi, hub.site.celery
from django.urls import get_resolver
get_resolver().url_patterns
"""
    later = [one.name for section in ("models", "test") for one in read_lock()[section]]
    command = [sys.executable, "-c", code, str(CHECKOUT), ",".join(later)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"DATA_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_page_shows_what_happens_now_what_is_done_and_what_comes() -> None:
    progress = SetupProgress(
        [
            Step("Packages of the site", "done", seconds=41.2),
            Step("Database", "now", "Fetching <torch>", 0.25),
            Step("Site"),
        ]
    )
    page = render(progress)
    assert 'http-equiv="refresh"' in page
    assert "<h1>Database</h1>" in page
    assert '<li class="done">' in page and "41 s" in page
    assert '<progress max="100" value="25">' in page and "Fetching &lt;torch&gt;" in page
    assert '<li class="next">' in page
    assert "<script" not in page


def test_the_address_is_printed_before_anything_is_installed(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Installing(Exception):
        """The first thing that takes its time."""

    def install(*_: Any) -> None:
        raise Installing

    monkeypatch.setattr("hub.site.bootstrap.start.missing_sections", lambda sections: ["web", "models"])
    monkeypatch.setattr(start, "_install", install)
    start.options = replace(start.options, port=check_port("127.0.0.1", 0))
    with pytest.raises(Installing):
        start.run()
    assert capsys.readouterr().out == f"Starting Model Commons; {start.options.address} shows how far it is.\n"


def test_browsers_get_the_page_and_programs_are_asked_to_come_again() -> None:
    port = check_port("127.0.0.1", 0)
    page = ProgressPage("127.0.0.1", port, lambda: SetupProgress([Step("Database", "now")]))
    address = f"http://127.0.0.1:{port}/some/where"
    for accept, kind in (("text/html,*/*", "text/html"), ("application/json", "application/json")):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(urllib.request.Request(address, headers={"Accept": accept}), timeout=5)
        with answer.value as response:
            assert response.code == 503 and response.headers["Retry-After"] == "2"
            assert response.headers["Content-Type"].startswith(kind)
            body = response.read().decode()
            assert "Database" in body
    assert json.loads(body)["finished"] is False
    page.close()
    assert check_port("127.0.0.1", port) == port  # handed on


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    assert read_json(tmp_path / "hub.json") is None
    write_json(tmp_path / "hub.json", {"port": 1})
    write_json(tmp_path / "hub.json", {"port": 2})
    assert read_json(tmp_path / "hub.json") == {"port": 2}
    assert os.listdir(tmp_path) == ["hub.json"]


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_the_data_dir_may_stand_anywhere(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["account", "create", "alice", "--staff"]
    for option in (["--data-dir", "d"], ["--data-dir=d"]):
        assert take_data_dir(words[:place] + option + words[place:]) == (tmp_path / "d", words)


@pytest.fixture
def folder_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`folder_of("migrate")` is the data folder that a command would work on."""
    folders: list[Path] = []
    monkeypatch.setattr(environment, "enter", lambda argv, *, sections: None)
    monkeypatch.setattr(commands, "_run_django", lambda argv, data_dir: folders.append(data_dir) or 0)

    def run(*words: str) -> Path:
        assert commands.main(list(words)) == 0
        return folders.pop()

    return run


def test_the_data_dir_of_the_environment_serves_without_an_option(
    folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    assert folder_of("migrate") == Path("/somewhere")
    assert folder_of("migrate", "--data-dir", "/else") == Path("/else")
    monkeypatch.delenv("DATA_DIR")
    assert folder_of("migrate") == CHECKOUT / "data"


def test_the_demo_leaves_the_hub_of_the_environment_alone(
    folder_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", "/somewhere")
    first, second = folder_of("demo"), folder_of("demo")
    assert Path("/somewhere") not in (first, second) and first != second
    assert not first.exists() and not second.exists()  # thrown away
    assert folder_of("demo", "--data-dir", "/else") == Path("/else")


def test_each_walk_of_the_demo_has_a_hub_of_its_own_in_a_folder_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """The second `./manage.py demo --data-dir D` ended with "The name 'ada' is taken"."""
    from django.core.management import call_command

    folders: list[Path] = []
    settings.DATA_DIR = tmp_path
    monkeypatch.setattr("hub.management.commands.run_demo.walk", lambda line: folders.append(line.data_dir))
    call_command("run_demo")
    call_command("run_demo")
    assert len(set(folders)) == 2 and {folder.parent for folder in folders} == {tmp_path}


def test_jobs_and_commands_know_the_address_of_the_site(tmp_path: Path) -> None:
    """They answer no request, and a recipe.lock that names no hub cannot be fetched as its card says."""
    assert commands.address_of_the_site(tmp_path) == ""
    write_json(tmp_path / "hub.json", {"address": "http://127.0.0.1:8123"})
    assert commands.address_of_the_site(tmp_path) == "http://127.0.0.1:8123"
    worker = services.worker("cpu", queues="cpu", address="http://127.0.0.1:8123")
    assert worker.env == {"PUBLIC_URL": "http://127.0.0.1:8123"}


class Stage:
    """Stands in for the supervisor: what was started, what was waited for, and the exit codes of what runs once."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.started: list[ChildSpec] = []
        self.waits: list[float] = []

    def start(self, child: ChildSpec) -> None:
        self.started.append(child)

    def run_once(self, child: ChildSpec) -> int:
        return self.codes.pop(0)

    def wait_until(self, condition: Callable[[], bool], *, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        return condition()

    def pids(self) -> dict[str, int]:
        return {}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def start(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A start of `up` whose children are not real."""
    monkeypatch.setattr("hub.site.bootstrap.start.Supervisor", lambda **_: stage)
    monkeypatch.setattr(stage, "obey_signals", lambda: None, raising=False)
    start = Start(Options("127.0.0.1", 8123, tmp_path, with_demo=True), os.getpid())
    yield start
    start._listener_hold.close()


def test_the_listener_has_its_port_from_the_first_moment(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """It was looked at when the hub began and taken when the site was there; meanwhile another hub took it as its own."""
    with pytest.raises(Refusal, match=f"Port {start.listener_port} of 127.0.0.1 is taken"):
        check_port("127.0.0.1", start.listener_port)
    start._announce([], wants_demo=True)
    assert "how to sign in is printed here when it is there" in capsys.readouterr().out


def test_a_demo_community_that_could_not_be_made_is_tried_again(
    start: Start, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waited for the next start: offline for a minute at the first one, and there was no proposal to watch."""
    accounts = [{"name": "ada", "password": "tides"}]
    write_json(start.data_dir / "demo_accounts.json", {"accounts": accounts})
    stage.codes = [1, 1, 0]
    start._plan([], wants_demo=True)
    start._seed_demo()
    assert stage.codes == [] and stage.waits == [RETRY_S] * 2
    assert start._demo_marker.exists() and start.progress.steps[-1].state == "done"
    out, err = capsys.readouterr()
    assert "It is tried again in 60 seconds." in err and out.count("tides") == 1


def test_each_stage_of_a_start_is_told_as_it_begins(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal was silent for as long as the first start took."""
    start._plan(["web"], wants_demo=False)
    with start._step("Packages of the site"):
        assert capsys.readouterr().out == "  Packages of the site ...\n"


def test_the_programs_of_a_hub_keep_their_byte_code_where_python_may_not_write_beside_the_source(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them compiled all packages anew: a later start took 18 seconds instead of 5."""
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    made = start._child_environment()
    assert made["PYTHONDONTWRITEBYTECODE"] == ""
    assert made["PYTHONPYCACHEPREFIX"] == str(start.data_dir / "cache" / "bytecode")
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    assert "PYTHONPYCACHEPREFIX" not in start._child_environment()


def test_without_the_demo_the_way_to_a_first_account_is_printed(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start.options = replace(start.options, with_demo=False)
    start._print_first_account()
    line = capsys.readouterr().out.splitlines()[-1].strip()
    words = shlex.split(line)
    assert words[:4] == ["./manage.py", "account", "create", "NAME"] and "--staff" in words and "--moderator" in words
    assert take_data_dir(words)[0] == start.data_dir


@pytest.mark.parametrize(("with_gpu", "expected"), [(False, {"cpu": "cpu,gpu"}), (True, {"cpu": "cpu", "gpu": "gpu"})])
def test_the_heavy_workers_share_their_queues_by_what_the_machine_has(
    with_gpu: bool, expected: dict[str, str], start: Start, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "has_cuda", lambda: with_gpu)
    start._start_engines()
    listening = {child.name: child.command[child.command.index("-Q") + 1] for child in stage.started}
    assert listening == {f"worker-{name}": queues for name, queues in ({"chat": "chat"} | expected).items()}
    assert {child.env["PUBLIC_URL"] for child in stage.started} == {"http://127.0.0.1:8123"}


def test_a_deep_data_folder_gets_a_short_socket(tmp_path: Path) -> None:
    assert services.broker_socket(tmp_path) == tmp_path / "valkey" / "valkey.sock"
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    assert len(os.fsencode(services.broker_socket(deep))) <= services.MAX_SOCKET_PATH_BYTES
    assert services.broker_socket(deep) != services.broker_socket(tmp_path / ("deeq" * 30))
    services.prepare_broker_folders(deep)
    folder = services.broker_socket(deep).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()


def test_who_may_not_install_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    absent = (Program("Chromium", "chromium", lambda: None), Program("PostgreSQL", "postgresql", lambda: None))
    with pytest.raises(Refusal, match="need Chromium and PostgreSQL; .* apt-get install chromium postgresql"):
        ensure_programs((*absent, Program("Python", "python3", lambda: sys.executable)))
    ensure_programs((Program("Python", "python3", lambda: sys.executable),))


def test_the_share_done_follows_what_pip_says() -> None:
    wanted = read_lock()["web"]
    half = "\n".join(f"Collecting {one.line} (from -r x)" for one in wanted[: len(wanted) // 2])
    doing, share = environment._pip_progress(half, wanted)
    assert doing == f"Fetching {wanted[len(wanted) // 2 - 1].name}"
    assert 0.2 < share < 0.3
    assert environment._pip_progress(half + "\nInstalling collected packages: a, b", wanted)[1] == 1.0  # all are here


def test_a_failure_of_pip_becomes_one_sentence(tmp_path: Path) -> None:
    output = "Collecting x\nERROR: Could not find a version\nERROR: No matching distribution found for x==1\n"
    sentence = environment._pip_refusal(output, tmp_path / "install.log")
    assert "No matching distribution found for x==1)" in sentence and "install.log" in sentence
    assert "full" in environment._pip_refusal("OSError: [Errno 28] No space left on device", tmp_path)


def test_what_the_children_of_screens_import_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may write nothing, so without this they compile it anew for each file."""
    (package := tmp_path / "packed_tides").mkdir()
    for path in (package / "__init__.py", package / "tests" / "test_tides.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("DEPTH = 40\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(environment, "IMPORTED_BY_CHILDREN", ("packed_tides", "not_there"))
    environment._keep_byte_code()
    assert [path.parent.parent.name for path in tmp_path.rglob("*.pyc")] == ["packed_tides"]
