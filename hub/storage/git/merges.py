"""Merging two commits in the object store; no reference moves."""

from collections.abc import Callable, Mapping

import pygit2

from hub.storage.errors import InvalidOperation, MergeConflict
from hub.storage.git.commits import compose_message, find_commit, format_commit
from hub.storage.git.objects import ObjectBatch, persist
from hub.storage.git.operations import Author, check_twins
from hub.storage.git.trees import FOLDER, read_tree

PLAIN_FILES = {pygit2.enums.FileMode.BLOB, pygit2.enums.FileMode.BLOB_EXECUTABLE}
# (path, base or None, ours, theirs) -> what both want, or None where they clash.
Resolver = Callable[[str, bytes | None, bytes, bytes], bytes | None]


def merge(
    handle: pygit2.Repository,
    ours: str,
    theirs: str,
    *,
    author: Author,
    message: str,
    trailers: Mapping[str, str] | None = None,
    resolve: Resolver | None = None,
) -> str:
    """A merge commit with the parents `ours`, `theirs`, also where one contains the other.

    `resolve` is asked about each file whose lines clash. Raises MergeConflict with the paths that both sides changed;
    two large files are never merged by content."""
    text = compose_message(message, trailers)
    left, right = find_commit(handle, ours), find_commit(handle, theirs)
    tree = persist(lambda: _merge_trees(handle, left, right, resolve))
    batch = ObjectBatch()
    oid = batch.add("commit", format_commit(tree=tree, parents=(ours, theirs), author=author, message=text))
    batch.flush(handle)
    return oid


def _merge_trees(
    handle: pygit2.Repository, ours: pygit2.Commit, theirs: pygit2.Commit, resolve: Resolver | None
) -> str:
    base = handle.merge_base(ours.id, theirs.id)
    if base == ours.id:
        return str(theirs.tree_id)
    if base == theirs.id:
        return str(ours.tree_id)
    index = handle.merge_commits(ours, theirs)
    if resolve is not None:
        _resolve(handle, index, resolve)
    if index.conflicts is not None:
        raise MergeConflict(_conflicting_paths(index))
    tree = str(index.write_tree(handle))
    _check_twins(handle, tree, str(ours.tree_id), str(theirs.tree_id))
    return tree


def _check_twins(handle: pygit2.Repository, tree: str, ours: str, theirs: str) -> None:
    """Each side may have brought one of two names that are one file elsewhere. Only folders that neither side has as they
    are now are looked at. Raises MergeConflict with one of the paths."""
    waiting: list[tuple[str, str | None, str | None, str]] = [(tree, ours, theirs, "")]
    while waiting:
        oid, left, right, path = waiting.pop()
        if oid in (left, right):
            continue
        entries = read_tree(handle, oid)
        sides = [read_tree(handle, side) if side else {} for side in (left, right)]
        for known, other in (sides, sides[::-1]):
            try:
                check_twins(entries, new=known.keys() - other.keys(), folder=path)
            except InvalidOperation as problem:
                raise MergeConflict([path or "/"]) from problem
        for name, leaf in entries.items():
            if leaf.mode == FOLDER:
                below = [side[name].oid if name in side and side[name].mode == FOLDER else None for side in sides]
                waiting.append((leaf.oid, below[0], below[1], f"{path}/{name.decode(errors='replace')}".strip("/")))


def _resolve(handle: pygit2.Repository, index: pygit2.Index, resolve: Resolver) -> None:
    """Take clashing files out of the conflicts where `resolve` knows what both sides want."""
    for base, ours, theirs in list(index.conflicts or ()):
        if ours is None or theirs is None or not {ours.mode, theirs.mode} <= PLAIN_FILES:
            continue
        before = _read(handle, base) if base is not None and base.mode in PLAIN_FILES else None
        joined = resolve(ours.path, before, _read(handle, ours), _read(handle, theirs))
        if joined is not None:
            index.add(pygit2.IndexEntry(ours.path, handle.create_blob(joined), ours.mode))
            del index.conflicts[ours.path]


def _read(handle: pygit2.Repository, entry: pygit2.IndexEntry) -> bytes:
    return bytes(handle[entry.id].peel(pygit2.Blob).data)


def _conflicting_paths(index: pygit2.Index) -> list[str]:
    sides = (side for conflict in index.conflicts or () for side in conflict if side is not None)
    return sorted({side.path for side in sides})
