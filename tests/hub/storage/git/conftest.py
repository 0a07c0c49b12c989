import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.storage.git import AddFile, Author, GitRepo, RepositoryPair
from tests.hub.storage.git.git_http_server import Door, serve
from tests.hub.storage.git.pushing import MAIN, Git


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


@pytest.fixture
def doors(pair: RepositoryPair) -> dict[str, Door]:
    """members: reads and writes all. public: reads what is cleared. stranger: writes pull requests only."""
    return {
        "members.git": Door(repo=pair.members, reads=pair.members),
        "public.git": Door(repo=pair.public, reads=pair.public),
        "stranger.git": Door(
            repo=pair.members, reads=pair.public, public=pair.public, visible=lambda ref: ref == "refs/pr/7"
        ),
    }


@pytest.fixture
def address(doors: dict[str, Door]) -> Iterator[str]:
    with serve(doors) as url:
        yield url


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stock client with nobody's configuration."""
    settings = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Charlie",
        "GIT_AUTHOR_EMAIL": "charlie@example.org",
        "GIT_COMMITTER_NAME": "Charlie",
        "GIT_COMMITTER_EMAIL": "charlie@example.org",
        "LC_ALL": "C",
        "HOME": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start(pair: RepositoryPair, alice: Author) -> str:
    """The first commit, public."""
    oid = pair.members.commit(MAIN, [AddFile("README.md", b"# Tides\n")], author=alice, message="start")
    pair.publish(MAIN, oid)
    return oid


@pytest.fixture
def copy(start: str, address: str, tmp_path: Path, git: Git) -> Path:
    """A clone of the members' half."""
    git(tmp_path, "clone", "-q", f"{address}/members.git", "copy")
    return tmp_path / "copy"
