import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.storage.git import Author, GitRepo, RepositoryPair


@pytest.fixture
def alice() -> Author:
    return Author("Alice", "alice@example.org", datetime(2026, 11, 1, 12, 0, tzinfo=UTC))


@pytest.fixture
def repo(tmp_path: Path) -> GitRepo:
    made = GitRepo(tmp_path / "repo.git")
    made.create()
    return made


@pytest.fixture
def pair(tmp_path: Path) -> RepositoryPair:
    made = RepositoryPair(tmp_path / "pair")
    made.create()
    return made


@pytest.fixture
def git() -> Callable[..., str]:
    """The stock git on a folder: git(folder, "fsck", "--strict")."""

    def run(folder: Path, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, input=stdin, text=True, capture_output=True, timeout=120, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    return run
