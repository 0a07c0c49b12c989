"""A clone that is changed and pushed."""

from collections.abc import Callable
from pathlib import Path

from hub.storage.git import GitRepo
from hub.storage.git.quarantine import FOLDER

MAIN = "refs/heads/main"
Git = Callable[..., str]


def write(copy: Path, git: Git, path: str, content: bytes, message: str = "change") -> str:
    (copy / path).parent.mkdir(parents=True, exist_ok=True)
    (copy / path).write_bytes(content)
    git(copy, "add", "-A")
    git(copy, "commit", "-q", "-m", message)
    return git(copy, "rev-parse", "HEAD").strip()


def is_clean(repo: GitRepo) -> bool:
    folder = repo.path / FOLDER
    return not folder.exists() or not list(folder.iterdir())


def build_pack(git: Git, copy: Path, oids: list[str]) -> bytes:
    name = git(copy, "pack-objects", "-q", "x", stdin="".join(f"{oid}\n" for oid in oids)).strip()
    return (copy / f"x-{name}.pack").read_bytes()
