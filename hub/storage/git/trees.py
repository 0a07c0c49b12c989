"""Reading trees: what a revision holds, with the real sizes of large files.

Trees are parsed from their raw bytes (`<mode> <name>\\0<20 bytes>`, repeated): names that are not UTF-8 come out
readable, a deep tree costs no recursion, and an edit of a 10,000-entry folder stays at milliseconds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

import pygit2

from hub.storage.errors import TooLarge, UnknownPath, UnknownRevision
from hub.storage.git.pointers import MAX_POINTER_BYTES, MIN_POINTER_BYTES, LfsPointer, parse_pointer

FOLDER = b"40000"
FILE = b"100644"
EXECUTABLE = b"100755"
SUBMODULE = b"160000"
MAX_LISTED = 2_000_000  # a few trees that contain each other unfold without end
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ENTRY = re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL)


class Leaf(NamedTuple):
    """One entry of a raw tree."""

    mode: bytes
    oid: str


@dataclass(frozen=True)
class TreeEntry:
    path: str
    type: Literal["file", "directory"]
    oid: str  # git's id of the blob or tree
    size: int  # bytes of the file people mean: of the large file when this is a pointer; 0 for a directory
    lfs: LfsPointer | None


RawEntry = tuple[bytes, bytes, bytes]  # mode, name, 20 bytes of the id


def split_tree(data: bytes) -> list[RawEntry]:
    """Raises ValueError when `data` is no tree."""
    entries: list[RawEntry] = ENTRY.findall(data)
    if sum(map(len, chain.from_iterable(entries))) + 2 * len(entries) != len(data):
        raise ValueError("These bytes are no git tree.")
    return entries


def parse_tree(data: bytes) -> dict[bytes, Leaf]:
    # Old writers padded the mode.
    return {name: Leaf(mode.lstrip(b"0"), oid.hex()) for mode, name, oid in split_tree(data)}


def format_tree(entries: dict[bytes, Leaf]) -> bytes:
    # git sorts a folder as if its name ended in a slash.
    order = sorted(entries.items(), key=lambda item: item[0] + b"/" if item[1].mode == FOLDER else item[0])
    return b"".join(b"%s %s\0%s" % (leaf.mode, name, bytes.fromhex(leaf.oid)) for name, leaf in order)


def read_tree(handle: pygit2.Repository, oid: str) -> dict[bytes, Leaf]:
    # The empty tree is known to git even where nobody wrote it.
    return {} if oid == EMPTY_TREE else parse_tree(handle.odb.read(oid)[1])


def root_of(handle: pygit2.Repository, commit: str) -> str:
    """The id of a commit's tree. Raises UnknownRevision when `commit` is no commit here."""
    try:
        found = handle[commit]
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, pygit2.Commit):
        raise UnknownRevision(f"Commit {commit[:100]} does not exist in this repository.")
    return str(found.tree_id)


def find_leaf(handle: pygit2.Repository, root: str, path: str) -> Leaf | None:
    """What stands at `path` below the tree `root`; the root itself for an empty path."""
    if not path:
        return Leaf(FOLDER, root)
    tree = None if root == EMPTY_TREE or path.endswith("/") else handle[root]
    try:
        found = tree[path] if isinstance(tree, pygit2.Tree) else None
    except (KeyError, ValueError, pygit2.GitError):
        return None
    return None if found is None else Leaf(b"%o" % found.filemode, str(found.id))


def find_file(handle: pygit2.Repository, commit: str, path: str) -> Leaf | None:
    leaf = find_leaf(handle, root_of(handle, commit), path)
    return None if leaf is None or leaf.mode in (FOLDER, SUBMODULE) else leaf


def list_tree(handle: pygit2.Repository, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]:
    """The entries of a folder in git's order, each folder before what it holds; submodules are left out."""
    folder = _find_folder(handle, commit, path)
    leaves = walk_leaves(handle, folder, path) if recursive else _leaves_of(handle, folder, path)
    return [describe(handle, where, leaf) for where, leaf in leaves]


def list_page(
    handle: pygit2.Repository, commit: str, path: str, *, recursive: bool, start: int, limit: int
) -> tuple[list[TreeEntry], int]:
    """Some entries of `list_tree`, and how many it has: of a folder of 10,000 only those asked for are looked at."""
    folder = _find_folder(handle, commit, path)
    if recursive:
        leaves = list(walk_leaves(handle, folder, path))
        return [describe(handle, where, leaf) for where, leaf in leaves[start : start + limit]], len(leaves)
    entries = _remembered.get(folder) or _split_folder(handle, folder)
    prefix = f"{path}/" if path else ""
    page = [
        describe(handle, prefix + name.decode(errors="replace"), Leaf(mode.lstrip(b"0"), oid.hex()))
        for mode, name, oid in entries[start : start + limit]
    ]
    return page, len(entries)


# Long folders that were listed last, for the next pages of the same listing. Who asks has proved to see the folder.
_remembered: dict[str, list[RawEntry]] = {}
MAX_REMEMBERED, MIN_LONG, MAX_LONG = 8, 1000, 20_000  # folders, and the entries of one


def _split_folder(handle: pygit2.Repository, oid: str) -> list[RawEntry]:
    data = b"" if oid == EMPTY_TREE else handle.odb.read(oid)[1]
    entries = [entry for entry in split_tree(data) if entry[0] != SUBMODULE]
    if MIN_LONG <= len(entries) <= MAX_LONG:
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()  # in one step, whatever other threads do
        _remembered[oid] = entries
    return entries


def _find_folder(handle: pygit2.Repository, commit: str, path: str) -> str:
    """The id of the tree at `path`. Raises UnknownPath."""
    start = find_leaf(handle, root_of(handle, commit), path)
    if start is None:
        raise UnknownPath(f"'{path[:200]}' does not exist in {commit[:12]}.")
    if start.mode != FOLDER:
        raise UnknownPath(f"'{path[:200]}' is a file in {commit[:12]}, not a folder.")
    return start.oid


def walk_leaves(handle: pygit2.Repository, root: str, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Every path below `root`, depth first, folders included. Iterative: a pushed tree may be thousands deep."""
    waiting, count = [_leaves_of(handle, root, prefix)], 0
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        count += 1
        if count > MAX_LISTED:
            raise TooLarge(f"'{prefix or '/'}' holds more than {MAX_LISTED} paths; list its folders one by one.")
        yield found
        if found[1].mode == FOLDER:
            waiting.append(_leaves_of(handle, found[1].oid, found[0]))


def _leaves_of(handle: pygit2.Repository, oid: str, prefix: str) -> Iterator[tuple[str, Leaf]]:
    start = f"{prefix}/" if prefix else ""
    for name, leaf in read_tree(handle, oid).items():
        if leaf.mode != SUBMODULE:
            yield start + name.decode(errors="replace"), leaf


def describe(handle: pygit2.Repository, path: str, leaf: Leaf) -> TreeEntry:
    if leaf.mode == FOLDER:
        return TreeEntry(path=path, type="directory", oid=leaf.oid, size=0, lfs=None)
    size, pointer = measure_blob(handle, leaf.oid)
    return TreeEntry(path=path, type="file", oid=leaf.oid, size=pointer.size if pointer else size, lfs=pointer)


def measure_blob(handle: pygit2.Repository, oid: str) -> tuple[int, LfsPointer | None]:
    """Bytes git holds for this blob, and the pointer it is when it is one."""
    odb = handle.odb
    size = odb.read_header(oid)[1]
    may_point = MIN_POINTER_BYTES <= size < MAX_POINTER_BYTES
    return size, parse_pointer(odb.read(oid)[1]) if may_point else None
