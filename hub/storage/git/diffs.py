"""What changed between two revisions, and which blobs a line of commits brings."""

from collections.abc import Iterable, Iterator
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
    start_git,
    stop_git,
)
from hub.storage.git.trees import EMPTY_TREE, measure_blob, root_of

DIFF_S = 20.0
MAX_RAW_BYTES = 256 * 1024**2  # some two million changed paths
Kind = Literal["added", "modified", "deleted"]
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
    given = "".join(f"{oid}\n" for oid in ancestors_not_in(handle, commit, excluding)).encode()
    pairs = dict.fromkeys(_read_raw_diff(_list_raw_changes(Path(handle.path), given)))
    measured = {oid: measure_blob(handle, oid) for _, oid in pairs}
    return [NewBlob(path, oid, *measured[oid]) for path, oid in pairs]


def _list_raw_changes(repository: Path, commits: bytes) -> bytes:
    arguments = ["diff-tree", "--stdin", "-r", "-c", "--root", "--raw", "-z"]
    options = ["--no-abbrev", "--no-renames", "--no-commit-id"]
    with given_as_file(commits) as given:
        process = start_git(repository, *arguments, *options, stdin=given)
        try:
            output = read_bounded(process, limit_bytes=MAX_RAW_BYTES, limit_s=LONG_S)
            if len(output) == MAX_RAW_BYTES:
                raise TooLarge("These commits change more files than can be looked at at once; push in smaller steps.")
            if process.wait(timeout=LONG_S):
                raise GitFailed("diff-tree", "")
        finally:
            stop_git(process)
    return output


def _read_raw_diff(output: bytes) -> Iterator[tuple[str, str]]:
    """(path, blob) of `--raw -z` lines `:mode mode old new X`; of n parents `::`, n + 1 modes, n + 1 ids."""
    fields = output.split(b"\0")
    for line, path in zip(fields[0:-1:2], fields[1::2], strict=True):
        parents = len(line) - len(line.lstrip(b":"))
        words = line[parents:].split(b" ")
        mode, oid = words[parents], words[2 * parents + 1].decode()
        if mode not in (b"000000", b"160000"):
            yield path.decode(errors="replace"), oid
