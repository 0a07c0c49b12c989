"""git bundles: a pack with the names of what it holds, as one file that every git clones from.

Source: https://git-scm.com/docs/gitformat-bundle, version 2 without prerequisites."""

import re
from collections.abc import Mapping
from typing import IO

from hub.storage.errors import InvalidOperation
from hub.storage.git.operations import check_ref
from hub.storage.git.processes import LONG_S, GitFailed, given_as_file, start_git, stop_git
from hub.storage.git.repository import GitRepo

SIGNATURE = b"# v2 git bundle\n"
LINE = re.compile(rb"([0-9a-f]{40}) (refs/[^\0\n]+)\n")
MAX_REFS = 20_000
MAX_LINE_BYTES = 5_000


def write_bundle(repo: GitRepo, refs: Mapping[str, str], file: IO[bytes]) -> None:
    """All that `refs` (name -> commit or tag) reach. Raises GitFailed."""
    file.write(SIGNATURE)
    for ref, oid in refs.items():
        file.write(f"{oid} {ref}\n".encode())
    file.write(b"\n")
    file.flush()  # git goes on writing where we stand
    given = "".join(f"{oid}\n" for oid in sorted(set(refs.values()))).encode()
    packing = ["pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset", "--no-use-bitmap-index"]
    with given_as_file(given) as lines:
        process = start_git(repo.path, *packing, stdin=lines, stdout=file)
        try:
            process.wait(timeout=LONG_S)
        finally:
            stop_git(process)
    if process.returncode:
        raise GitFailed("pack-objects", "the history could not be packed")
    file.seek(0, 2)


def read_refs(file: IO[bytes]) -> dict[str, str]:
    """The references that a bundle names; `file` then stands at its pack. Raises InvalidOperation."""
    if file.readline(MAX_LINE_BYTES) != SIGNATURE:
        raise InvalidOperation("The history is no git bundle of version 2.")
    found: dict[str, str] = {}
    while (line := file.readline(MAX_LINE_BYTES)) != b"\n":
        match = LINE.fullmatch(line)
        if match is None:
            raise InvalidOperation("The git bundle is damaged, or needs commits that it does not hold.")
        ref = check_ref(match[2].decode(errors="replace"))
        if ref in found or len(found) >= MAX_REFS:
            raise InvalidOperation(f"The git bundle names {ref[:100]!r} twice, or more than {MAX_REFS:,} references.")
        found[ref] = match[1].decode()
    return found
