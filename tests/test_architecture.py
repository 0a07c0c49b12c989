"""The shape of the project: what stands at the top, and who may import whom. Planted violations prove the check."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("hub", "training", "moderation")
TOP_LEVEL = {
    "manage.py", "pyproject.toml", "README.md", "LICENSE", "requirements.lock",
    "hub", "training", "moderation", "templates", "static", "tests", "docs",
}  # fmt: skip
MADE_HERE = {"data", "test-results"}  # ignored by git


def lint_imports(folder: Path) -> "subprocess.CompletedProcess[str]":
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_nothing_else_stands_at_the_top() -> None:
    found = {path.name for path in CHECKOUT.iterdir() if not path.name.startswith(".")}
    assert found - MADE_HERE - {"__pycache__"} <= TOP_LEVEL


def test_imports_only_go_down() -> None:
    done = lint_imports(CHECKOUT)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the project alone, to plant violations in."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("place", "line", "broken"),
    [
        ("hub/repos/planted.py", "import hub.community", "hub.repos.planted -> hub.community"),
        ("hub/storage/planted.py", "import hub.common", "hub.storage.planted -> hub.common"),
        ("hub/web/planted.py", "import hub.api", "hub.web.planted -> hub.api"),
        ("hub/accounts/planted.py", "import moderation", "hub.accounts.planted -> moderation"),
        ("training/planted.py", "import hub.site", "training.planted -> hub.site"),
        ("training/engine/planted.py", "import django.db", "training.engine.planted -> django"),
        ("training/engine/planted.py", "import training.apps", "training.engine.planted -> training.apps"),
        ("moderation/screens/planted.py", "import hub.repos", "moderation.screens.planted -> hub.repos"),
    ],
)
def test_a_planted_violation_is_caught(copy: Path, place: str, line: str, broken: str) -> None:
    (copy / place).write_text(f"{line}\n")
    try:
        done = lint_imports(copy)
    finally:
        (copy / place).unlink()
    assert done.returncode == 1
    assert broken in done.stdout
