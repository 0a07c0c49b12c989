"""Which large files the references of a repository still name: what a collector of garbage has to keep."""

from collections.abc import Sequence

from hub.storage.git.pointers import MAX_POINTER_BYTES, parse_pointer
from hub.storage.git.processes import LONG_S, run_git
from hub.storage.git.repository import GitRepo


def list_named_files(repo: GitRepo, *, tips: Sequence[str] | None = None) -> set[str]:
    """SHA-256 of every file that a pointer reachable from any reference names: branches, tags, pull requests,
    candidates, and what else is kept under refs/; or from `tips` alone (commits and tags).

    Raises GitFailed when an object is missing or damaged: then nobody may conclude that something is not needed."""
    # Objects of at least this size cannot be pointers; git leaves them out of the list.
    listing = [
        "rev-list",
        "--objects",
        "--no-object-names",
        "--all" if tips is None else "--stdin",
        f"--filter=blob:limit={MAX_POINTER_BYTES}",
    ]
    given = None if tips is None else "".join(f"{oid}\n" for oid in tips).encode()
    reachable = run_git(repo.path, *listing, stdin=given, limit_s=LONG_S)
    kinds = run_git(
        repo.path, "cat-file", "--batch-check=%(objecttype) %(objectname)", "--buffer", stdin=reachable, limit_s=LONG_S
    )
    blobs = b"".join(line[5:] for line in kinds.splitlines(keepends=True) if line.startswith(b"blob "))
    contents = run_git(repo.path, "cat-file", "--batch=%(objectsize)", "--buffer", stdin=blobs, limit_s=LONG_S)
    return {pointer.sha256 for data in _split(contents) if (pointer := parse_pointer(data)) is not None}


def _split(output: bytes) -> list[bytes]:
    """The contents in an answer of `cat-file --batch=%(objectsize)`."""
    parts, start = [], 0
    while start < len(output):
        line_end = output.index(b"\n", start)
        size = int(output[start:line_end])
        parts.append(output[line_end + 1 : line_end + 1 + size])
        start = line_end + 1 + size + 1
    return parts
