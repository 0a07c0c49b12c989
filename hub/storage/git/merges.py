"""Merging two commits in the object store; no reference moves."""

from collections.abc import Mapping

import pygit2

from hub.storage.errors import MergeConflict
from hub.storage.git.commits import compose_message, find_commit, format_commit
from hub.storage.git.objects import ObjectBatch
from hub.storage.git.operations import Author


def merge(
    handle: pygit2.Repository,
    ours: str,
    theirs: str,
    *,
    author: Author,
    message: str,
    trailers: Mapping[str, str] | None = None,
) -> str:
    """A merge commit with the parents `ours`, `theirs`, also where one contains the other.

    Raises MergeConflict with the paths that both sides changed; two large files are never merged by content."""
    text = compose_message(message, trailers)
    tree = _merge_trees(handle, find_commit(handle, ours), find_commit(handle, theirs))
    batch = ObjectBatch()
    oid = batch.add("commit", format_commit(tree=tree, parents=(ours, theirs), author=author, message=text))
    batch.flush(handle)
    return oid


def _merge_trees(handle: pygit2.Repository, ours: pygit2.Commit, theirs: pygit2.Commit) -> str:
    base = handle.merge_base(ours.id, theirs.id)
    if base == ours.id:
        return str(theirs.tree_id)
    if base == theirs.id:
        return str(ours.tree_id)
    index = handle.merge_commits(ours, theirs)
    if index.conflicts is not None:
        raise MergeConflict(_conflicting_paths(index))
    return str(index.write_tree(handle))


def _conflicting_paths(index: pygit2.Index) -> list[str]:
    sides = (side for conflict in index.conflicts or () for side in conflict if side is not None)
    return sorted({side.path for side in sides})
