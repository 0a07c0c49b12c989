"""What changed between two revisions, and which blobs a line of commits brings."""

import subprocess
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pygit2
from pygit2.enums import DeltaStatus

from hub.storage.errors import TooLarge
from hub.storage.git.commits import ancestors_not_in
from hub.storage.git.pointers import LfsPointer
from hub.storage.git.processes import (
    LONG_S,
    GitFailed,
    build_environment,
    given_as_file,
    read_bounded,
    read_pieces,
    start_git,
    stop_git,
)
from hub.storage.git.trees import EMPTY_TREE, measure_blob, root_of

DIFF_S = 20.0
MAX_RAW_BYTES = 256 * 1024**2  # some two million changed paths
Kind = Literal["added", "modified", "deleted"]
RawChange = tuple[bytes, bytes]  # what `--raw -z` says of a change, and its path
GONE, SUBMODULE_MODE = b"000000", b"160000"
KINDS: dict[DeltaStatus, Kind] = {DeltaStatus.ADDED: "added", DeltaStatus.DELETED: "deleted"}


@dataclass(frozen=True)
class Change:
    path: str
    kind: Kind
    old_oid: str | None  # git's id of the blob before
    new_oid: str | None


class NewBlob(NamedTuple):
    path: str
    oid: str
    size: int  # bytes git holds: of the pointer, when it is one
    pointer: LfsPointer | None


def changes(handle: pygit2.Repository, old: str | None, new: str) -> list[Change]:
    """Files that differ between two commits, in git's order; `old` None stands for nothing at all.

    A renamed file is one deleted and one added."""
    after = handle[root_of(handle, new)].peel(pygit2.Tree)
    if old is None:
        diff = after.diff_to_tree(swap=True)
    else:
        diff = handle[root_of(handle, old)].peel(pygit2.Tree).diff_to_tree(after)
    return [_describe_delta(delta) for delta in diff.deltas]


def _describe_delta(delta: pygit2.DiffDelta) -> Change:
    kind: Kind = KINDS.get(delta.status, "modified")
    return Change(
        path=(delta.old_file if kind == "deleted" else delta.new_file).raw_path.decode(errors="replace"),
        kind=kind,
        old_oid=None if kind == "added" else str(delta.old_file.id),
        new_oid=None if kind == "deleted" else str(delta.new_file.id),
    )


def diff_text(handle: pygit2.Repository, old: str | None, new: str, limit_bytes: int) -> str:
    """A unified diff, cut at a line end before `limit_bytes` with a last line that says so.

    git is stopped when enough was read, so a huge change costs no more than a page of it."""
    before = EMPTY_TREE if old is None else root_of(handle, old)
    arguments = ["diff-tree", "-r", "-p", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
    # Above this size a file counts as binary: reading it line by line helps nobody.
    environment = build_environment(settings=[("core.bigFileThreshold", "2m")])
    process = start_git(Path(handle.path), *arguments, before, root_of(handle, new), environment=environment)
    try:
        data = read_bounded(process, limit_bytes=limit_bytes + 1, limit_s=DIFF_S)
    finally:
        stop_git(process)
    if len(data) <= limit_bytes:
        return data.decode(errors="replace")
    whole_lines = data[: data.rfind(b"\n", 0, limit_bytes) + 1]
    return whole_lines.decode(errors="replace") + f"[The diff is longer than {limit_bytes} bytes and was cut here.]\n"


def new_blobs(handle: pygit2.Repository, commit: str, excluding: Iterable[str]) -> list[NewBlob]:
    """Every (path, blob) in any commit that `commit` reaches and `excluding` does not, unless a parent has it there.

    So content that was deleted again, that only a merge brought, or that came back by a revert is in it."""
    line = ancestors_not_in(handle, commit, excluding)
    return list(dict.fromkeys(item for _, brought in blobs_of_each(handle, line) for item in brought))


def blobs_of_each(handle: pygit2.Repository, commits: Sequence[str]) -> Iterator[tuple[str, list[NewBlob]]]:
    """For each of `commits`, in their order, the (path, blob) that none of its parents has there; one git for all."""
    found = _stream_raw(Path(handle.path), commits, "-c")
    waiting = next(found, None)
    for oid in commits:
        changed: list[RawChange] = []
        if waiting is not None and waiting[0] == oid:  # git passes over commits that change nothing
            changed, waiting = waiting[1], next(found, None)
        pairs = [pair for header, path in changed if (pair := _read_new(header, path)) is not None]
        yield oid, [NewBlob(path, blob, *measure_blob(handle, blob)) for path, blob in pairs]


def changes_along(
    handle: pygit2.Repository, line: Sequence[tuple[str, str | None]], *, below: str = "", limit_s: float = LONG_S
) -> Generator[tuple[str, list[tuple[str, bool]]], None, None]:
    """For each (commit, parent) that differ, in their order: the paths that changed, folders included, and whether each is
    still there; only those `below` a folder. Raises StorageError when git takes `limit_s`. Closing it ends the work."""
    given = [f"{commit} {parent}" if parent else commit for commit, parent in line]
    paths = ["--", f":(literal,top){below}"] if below else []
    for commit, changed in _stream_raw(Path(handle.path), given, "-t", paths=paths, limit_s=limit_s):
        yield commit, [(path.decode(errors="replace"), header.split(b" ")[1] != GONE) for header, path in changed]


def _stream_raw(
    repository: Path, lines: Iterable[str], option: str, *, paths: Sequence[str] = (), limit_s: float = LONG_S
) -> Iterator[tuple[str, list[RawChange]]]:
    """(commit, its changes) as `git diff-tree` tells them, read as they come."""
    arguments = ["diff-tree", "--stdin", "-r", option, "--root", "--raw", "-z", "--no-abbrev", "--no-renames", *paths]
    with given_as_file("".join(f"{line}\n" for line in lines).encode()) as given:
        process = start_git(repository, *arguments, stdin=given)
        try:
            yield from _group_by_commit(_split_fields(process, limit_s))
            if process.wait(timeout=limit_s):
                raise GitFailed("diff-tree", "")
        finally:
            stop_git(process)


def _split_fields(process: "subprocess.Popen[bytes]", limit_s: float) -> Iterator[bytes]:
    rest, have = b"", 0
    for piece in read_pieces(process, limit_s=limit_s):
        have += len(piece)
        if have > MAX_RAW_BYTES:
            raise TooLarge("These commits change more files than can be looked at at once; push in smaller steps.")
        *fields, rest = (rest + piece).split(b"\0")
        yield from fields


def _group_by_commit(fields: Iterator[bytes]) -> Iterator[tuple[str, list[RawChange]]]:
    commit, changed = "", list[RawChange]()
    for field in fields:
        if field.startswith(b":"):
            changed.append((field, next(fields)))
            continue
        if commit:
            yield commit, changed
        commit, changed = field.decode(), []
    if commit:
        yield commit, changed


def _read_new(header: bytes, path: bytes) -> tuple[str, str] | None:
    """(path, blob) of a `--raw` header `:mode mode old new X`; of n parents `::`, n + 1 modes, n + 1 ids."""
    parents = len(header) - len(header.lstrip(b":"))
    words = header[parents:].split(b" ")
    mode, oid = words[parents], words[2 * parents + 1].decode()
    return None if mode in (GONE, SUBMODULE_MODE) else (path.decode(errors="replace"), oid)
