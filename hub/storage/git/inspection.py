"""Trees that strangers made: every name must be one that each of our doors accepts, and no tree may unfold into
more than a clone can bear. Each distinct tree is read once, so a "git bomb" of a dozen trees is cheap to refuse."""

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

import pygit2

from hub.storage.errors import InvalidOperation, TooLarge
from hub.storage.git.operations import MAX_DEPTH, check_twins, name_problem
from hub.storage.git.trees import EMPTY_TREE, FOLDER, SUBMODULE, split_tree

MAX_FILES = 1_000_000  # paths in one commit


class Extent(NamedTuple):
    files: int
    depth: int


class TreeInspector:
    def __init__(self, handle: pygit2.Repository) -> None:
        self._handle = handle
        self._seen: dict[str, tuple[list[str], int]] = {}
        self._extents: dict[str, Extent] = {}
        self._good_names: set[bytes] = set()
        self._good_folders: set[bytes] = set()

    def inspect(self, roots: Iterable[str]) -> None:
        """Raises InvalidOperation for a name or kind of entry we refuse, TooLarge for a tree out of bounds."""
        for root in roots:
            extent = self._measure(root)
            if extent.files > MAX_FILES:
                raise TooLarge(f"A commit may hold at most {MAX_FILES} files; put many small records into one file.")

    def _measure(self, root: str) -> Extent:
        """Depth first without recursion: a tree is settled once all its folders are."""
        waiting = [root]
        while waiting:
            oid = waiting[-1]
            folders, files = self._read(oid)
            unsettled = [folder for folder in folders if folder not in self._extents]
            if unsettled:
                waiting += unsettled
                if len(waiting) > MAX_FILES:
                    raise TooLarge(f"A commit may hold at most {MAX_FILES} folders; flatten it.")
                continue
            self._extents.setdefault(oid, _join(files, [self._extents[folder] for folder in folders]))
            waiting.pop()
        return self._extents[root]

    def _read(self, oid: str) -> tuple[list[str], int]:
        """The ids of the folders directly in a tree, and how many files lie beside them."""
        if oid in self._seen:
            return self._seen[oid]
        entries = [] if oid == EMPTY_TREE else split_tree(self._handle.odb.read(oid)[1])
        self._check_names([name for _, name, _ in entries])
        folders, files = [], 0
        for mode, name, leaf in entries:
            mode = mode.lstrip(b"0")
            if mode == SUBMODULE:
                raise InvalidOperation(f"'{name.decode()}' is a submodule; add its files themselves.")
            if mode == FOLDER:
                folders.append(leaf.hex())
            else:
                files += 1
        self._seen[oid] = (folders, files)
        return folders, files

    def _check_names(self, names: list[bytes]) -> None:
        """A long history holds the same names again and again, so a list of names that is known is not looked at twice."""
        listing = sha256(b"\0".join(names)).digest()  # the one byte that no name can hold
        if listing in self._good_folders:
            return
        check_twins(names)
        for name in names:
            if name not in self._good_names:
                self._check_name(name)
        self._good_folders.add(listing)

    def _check_name(self, name: bytes) -> None:
        shown = name[:100].decode(errors="replace")
        problem = name_problem(name.decode(errors="surrogateescape"))
        if problem:
            raise InvalidOperation(f"File name {shown!r} {problem}.")
        self._good_names.add(name)


def _join(files: int, below: list[Extent]) -> Extent:
    depth = 1 + max((extent.depth for extent in below), default=0)
    if depth > MAX_DEPTH:
        raise InvalidOperation(f"The push holds files more than {MAX_DEPTH} folders deep; flatten them.")
    return Extent(files + sum(extent.files for extent in below), depth)
