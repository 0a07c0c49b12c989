"""A folder on the server's disk becomes a repository: for what people have before they have a hub."""

from collections.abc import Iterator
from pathlib import Path

from hub.accounts.models import User
from hub.common.errors import InvalidInput
from hub.community.contributions import Contribution, commit
from hub.repos.blobs import take_in
from hub.repos.largeness import is_large
from hub.repos.models import Repo
from hub.storage.git import AddFile, AddPointer

PIECE_BYTES = 1024 * 1024
SAMPLE_BYTES = 4096


def read_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def list_files(folder: Path) -> list[Path]:
    """Files below `folder`; links and what lies in .git, .cache or __pycache__ stay out. Raises InvalidInput for none."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder.")
    skipped = (".git", ".cache", "__pycache__")
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not path.is_symlink() and not any(part in skipped for part in relative.parts):
            found.append(path)
    if not found:
        raise InvalidInput(f"{folder} holds no files to import.")
    return found


def import_folder(*, folder: Path, repo: Repo, by: User, title: str = "Import a folder") -> Contribution:
    """One commit with all files. Raises InvalidInput for an empty or missing folder."""
    operations: list[AddFile | AddPointer] = []
    for path in list_files(folder):
        name, size = path.relative_to(folder).as_posix(), path.stat().st_size
        with path.open("rb") as file:
            sample = file.read(SAMPLE_BYTES)
        if is_large(name, size, sample):
            stored = take_in(repo=repo, by=by, pieces=read_pieces(path))
            operations.append(AddPointer(name, stored.sha256, stored.size))
        else:
            operations.append(AddFile(name, path.read_bytes()))
    return commit(repo=repo, by=by, revision=None, operations=operations, title=title, door="hub")
