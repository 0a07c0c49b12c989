"""What ./manage.py test starts: everything once, in two halves at once; anything narrower as it was asked for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.site.bootstrap import testing

ROOT = Path(__file__).parents[2]


class Programs:
    """In place of subprocess: remembers what would have been started, and ends as it is told."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.started: list[list[str]] = []
        self.data_dirs: list[str] = []

    def start(self, command: list[str], **options: Any) -> Any:
        self.started.append(command)
        self.data_dirs.append(options["env"]["DATA_DIR"])
        code = self.codes[len(self.started) - 1]
        process = subprocess.CompletedProcess(command, code)
        process.wait = lambda: code  # type: ignore[attr-defined]
        return process


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(*codes: int) -> Programs:
        programs = Programs(*codes)
        monkeypatch.setattr(testing.subprocess, "run", programs.start)
        monkeypatch.setattr(testing.subprocess, "Popen", programs.start)
        monkeypatch.setattr(testing.os, "cpu_count", lambda: 2)
        return programs

    return put


@pytest.mark.parametrize("marks", ["not slow", "slow"])
def test_the_halves_together_are_the_whole(programs: Any, tmp_path: Path, marks: str) -> None:
    started = programs(0, 0)
    assert testing.run_tests([], marks=marks, data_dir=tmp_path) == 0
    second, first = (command[command.index(marks) + 1 :] for command in started.started)
    assert second == ["tests", *(f"--ignore={path}" for path in first)]
    assert all((ROOT / path).is_dir() for path in first)
    assert len(set(started.data_dirs)) == 2


@pytest.mark.parametrize(("codes", "code"), [((1, 0), 1), ((0, 1), 1), ((0, 5), 5), ((0, 0), 0)])
def test_a_half_that_fails_fails_the_whole(programs: Any, tmp_path: Path, codes: tuple[int, int], code: int) -> None:
    programs(*codes)
    assert testing.run_tests([], marks="not slow", data_dir=tmp_path) == code


def test_bytecode_is_kept_apart_even_where_none_may_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "module.py").write_text("x = 1\n")
    environment = testing.own_environment(tmp_path / "data") | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import module"], env=environment, check=True)
    assert list((tmp_path / "data/bytecode").rglob("module.*.pyc"))
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize("marks", ["not slow", "slow"])
def test_what_is_asked_for_runs_as_one(programs: Any, tmp_path: Path, marks: str) -> None:
    started = programs(3)
    assert testing.run_tests(["tests/site"], marks=marks, data_dir=tmp_path) == 3
    assert [command[3:] for command in started.started] == [["-m", marks, "tests/site"]]
