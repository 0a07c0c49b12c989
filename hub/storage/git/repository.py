"""One bare git repository, as the rest of the hub sees it."""

import os
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pygit2

from hub.storage.errors import StaleParent, UnknownPath, UnknownRevision
from hub.storage.git import commits, diffs, merges, refs, trees
from hub.storage.git.commits import CommitInfo
from hub.storage.git.diffs import Change, NewBlob
from hub.storage.git.edits import Step, TreeEdit, prepare_steps
from hub.storage.git.objects import ObjectBatch, sync_folder, write_durably
from hub.storage.git.operations import ANY, Anything, Author, Operation, check_ref
from hub.storage.git.processes import LONG_S
from hub.storage.git.refs import RefMove
from hub.storage.git.stamps import read_stamp, refuse_purged
from hub.storage.git.trees import TreeEntry

CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
\tfsync = all
\tlogAllRefUpdates = false
[gc]
\tauto = 0
"""
# Of each thread, for the repositories it looked into last: a client asks for one file after another.
_handles = threading.local()
MAX_HANDLES = 4  # each keeps the files of its packs open
MAX_REPLAYS = 50  # only writers outside our queue cause any


class Kept(NamedTuple):
    pack_folders: list[str]  # its own and those it borrows from, which stay the same for its life
    stamp: list[int]
    repository: pygit2.Repository


class GitRepo:
    """Cheap to make. The path need not exist until `create`."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"GitRepo({str(self.path)!r})"

    def create(self, *, borrows_from: Sequence[str] = ()) -> None:
        """Make the bare repository; a second call, also after a crash in the first, completes it.

        `borrows_from`: object folders whose objects count as its own, absolute or relative to its object folder."""
        for folder in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        if borrows_from:
            alternates = "".join(f"{folder}\n" for folder in borrows_from)
            write_durably(self.path / "objects" / "info" / "alternates", alternates.encode())
        write_durably(self.path / "config", CONFIG.encode())
        if not self.exists():
            write_durably(self.path / "HEAD", b"ref: refs/heads/main\n")  # last: it makes the repository exist
        sync_folder(self.path.parent)

    def exists(self) -> bool:
        return (self.path / "HEAD").is_file()

    @cached_property
    def object_folders(self) -> list[Path]:
        """Where its objects lie: its own folder first, then those it borrows from."""
        own = self.path / "objects"
        alternates = own / "info" / "alternates"
        borrowed = alternates.read_text().splitlines() if alternates.exists() else []
        return [own, *(own / folder for folder in borrowed)]

    @property
    def handle(self) -> pygit2.Repository:
        """libgit2's view, renewed when packs came or went: an old one would still read what was pruned."""
        kept: OrderedDict[str, Kept] = vars(_handles).setdefault("kept", OrderedDict())
        known = kept.get(self._name)
        pack_folders = known.pack_folders if known is not None else self._find_pack_folders()
        try:
            stamp = [(found := os.stat(packs)).st_mtime_ns ^ found.st_ino for packs in pack_folders]
        except FileNotFoundError:
            raise UnknownRevision("This repository does not exist any more; look it up again.") from None
        if known is None or known.stamp != stamp:
            known = kept[self._name] = Kept(pack_folders, stamp, pygit2.Repository(self._name))
            if len(kept) > MAX_HANDLES:
                kept.popitem(last=False)
        return known.repository

    def let_go(self) -> None:
        """Close what this thread keeps open of a repository that is about to be deleted."""
        vars(_handles).get("kept", {}).pop(self._name, None)

    @cached_property
    def _name(self) -> str:
        return str(self.path)

    def _find_pack_folders(self) -> list[str]:
        return [str(objects / "pack") for objects in self.object_folders]

    # Revisions and references

    def resolve(self, revision: str) -> str:
        """The commit behind a full sha, full reference name, branch or tag. Raises UnknownRevision."""
        return refs.resolve(self.handle, revision)

    def peel(self, oid: str) -> str:
        """The commit behind a commit or an annotated tag. Raises UnknownRevision."""
        return refs.peel(self.handle, oid)

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        return refs.list_refs(self.handle, prefix)

    def read_ref(self, ref: str) -> str | None:
        return refs.read_ref(self.handle, ref)

    def move_ref(self, ref: str, new: str | None, expected: str | None | Anything) -> None:
        """Compare-and-swap: `new` None deletes, `expected` None means "must not exist". Raises StaleParent."""
        self.move_refs([RefMove(ref, new, expected)])

    def move_refs(self, moves: Sequence[RefMove]) -> None:
        """All or none."""
        with refs.queue(self.path):
            refs.move_refs(self.path, moves)

    # Writing

    def commit(
        self,
        ref: str,
        operations: Sequence[Operation],
        *,
        author: Author,
        message: str,
        expected_parent: str | None | Anything = ANY,
        extra_parents: Sequence[str] = (),
        trailers: Mapping[str, str] | None = None,
        base: str | None = None,
    ) -> str:
        """One commit with all operations, on `ref`; its id. Durable when this returns.

        ANY replays the operations on whatever the head is by then. A stated parent that is no longer the head:
        StaleParent (None: the reference must not exist yet). `base` is the start where `ref` does not exist.
        Deleting what is not there: UnknownPath. No operations make an empty commit."""
        check_ref(ref)
        text = commits.compose_message(message, trailers)
        self._refuse_stale(ref, expected_parent)
        stamp = read_stamp(self.path)
        contents = ObjectBatch()
        steps = prepare_steps(self.handle, operations, contents)
        contents.flush(self.handle)  # before the queue: hashing many files takes a while
        for attempt in range(MAX_REPLAYS):
            try:
                with refs.queue(self.path):
                    refuse_purged(self.path, stamp)
                    self._refuse_stale(ref, expected_parent)
                    return self._commit_on_head(ref, steps, author, text, extra_parents, base)
            except StaleParent:
                if expected_parent is not ANY or attempt == MAX_REPLAYS - 1:
                    raise
        raise AssertionError("The loop returns or raises.")

    def _refuse_stale(self, ref: str, expected: str | None | Anything) -> None:
        found = self.read_ref(ref)
        if expected is not ANY and found != expected:
            raise StaleParent(refs.stale_sentence(ref, found, expected))

    def _commit_on_head(
        self, ref: str, steps: Sequence[Step], author: Author, text: str, extra_parents: Sequence[str], base: str | None
    ) -> str:
        handle = self.handle
        head = refs.read_ref(handle, ref)
        start = refs.peel(handle, head) if head else base
        edit = TreeEdit(handle, trees.root_of(handle, start) if start else None)
        for step in steps:
            edit.apply(step)
        batch = ObjectBatch()
        tree = edit.write(batch)
        parents = [str(commits.find_commit(handle, parent).id) for parent in [start, *extra_parents] if parent]
        oid = batch.add("commit", commits.format_commit(tree=tree, parents=parents, author=author, message=text))
        batch.flush(handle)
        refs.move_refs(self.path, [RefMove(ref, oid, head)])
        return oid

    def squash(self, commit: str, *, author: Author, message: str) -> str:
        """A commit without parents that holds the files of `commit`; no reference names it yet."""
        text = commits.compose_message(message, None)
        batch = ObjectBatch()
        tree = self.tree_id(commit)
        oid = batch.add("commit", commits.format_commit(tree=tree, parents=(), author=author, message=text))
        batch.flush(self.handle)
        return oid

    def merge(
        self,
        ours: str,
        theirs: str,
        *,
        author: Author,
        message: str,
        trailers: Mapping[str, str] | None = None,
        resolve: merges.Resolver | None = None,
    ) -> str:
        """A merge commit in the object store; no reference moves. Raises MergeConflict(paths)."""
        return merges.merge(
            self.handle, ours, theirs, author=author, message=message, trailers=trailers, resolve=resolve
        )

    # Reading

    def tree(self, commit: str, path: str = "", *, recursive: bool = False) -> list[TreeEntry]:
        """Files and folders in git's order. Raises UnknownPath when `path` is no folder of this commit."""
        return trees.list_tree(self.handle, commit, path, recursive=recursive)

    def tree_page(
        self, commit: str, path: str = "", *, recursive: bool = False, start: int, limit: int
    ) -> tuple[list[TreeEntry], int]:
        """`limit` entries of `tree` from the number `start` on, and how many there are in all. Raises UnknownPath."""
        return trees.list_page(self.handle, commit, path, recursive=recursive, start=start, limit=limit)

    def entry(self, commit: str, path: str) -> TreeEntry | None:
        handle = self.handle
        leaf = trees.find_leaf(handle, trees.root_of(handle, commit), path)
        if leaf is None or leaf.mode == trees.SUBMODULE:
            return None
        return trees.describe(handle, path, leaf)

    def read(self, commit: str, path: str, limit: int | None = None) -> bytes:
        """The first `limit` bytes of a file as git holds it (of a large file: its pointer). Raises UnknownPath."""
        leaf = trees.find_file(self.handle, commit, path)
        if leaf is None:
            raise UnknownPath(f"'{path[:200]}' is no file in {commit[:12]}.")
        return self.read_blob(leaf.oid)[:limit]

    def read_blob(self, oid: str) -> bytes:
        """Raises UnknownPath when no blob has this id."""
        try:
            blob = self.handle[oid]
        except (KeyError, ValueError):
            blob = None
        if not isinstance(blob, pygit2.Blob):
            raise UnknownPath(f"Blob {oid[:100]} does not exist in this repository.")
        return bytes(blob.data)

    def history(self, commit: str, *, path: str | None = None, skip: int = 0, limit: int = 50) -> list[CommitInfo]:
        """Newest first; with `path`, the commits that changed it (bounded in time)."""
        return commits.history(self.handle, commit, path=path, skip=skip, limit=limit)

    def first_parents(self, commit: str, *, until: str | None = None, limit: int) -> list[CommitInfo]:
        """The commit, its first parent, that one's first parent and so on, up to `until` (without it) or the root."""
        return commits.first_parents(self.handle, commit, until=until, limit=limit)

    def commit_info(self, oid: str) -> CommitInfo:
        return commits.commit_info(self.handle, oid)

    def changes(self, old: str | None, new: str) -> list[Change]:
        return diffs.changes(self.handle, old, new)

    def diff_text(self, old: str | None, new: str, limit_bytes: int) -> str:
        return diffs.diff_text(self.handle, old, new, limit_bytes)

    def new_blobs(self, commit: str, excluding: Iterable[str]) -> list[NewBlob]:
        """(path, oid, size, LfsPointer | None) of all content that `commit` brings beyond `excluding`."""
        return diffs.new_blobs(self.handle, commit, excluding)

    def blobs_of_each(self, commits: Sequence[str]) -> Iterator[tuple[str, list[NewBlob]]]:
        """For each commit, in their order, what none of its parents has: `new_blobs` of many, at the price of one."""
        return diffs.blobs_of_each(self.handle, commits)

    def changes_along(
        self, line: Sequence[tuple[str, str | None]], *, below: str = "", limit_s: float = LONG_S
    ) -> Generator[tuple[str, list[tuple[str, bool]]], None, None]:
        """(commit, [(path, whether it is still there)]) of each (commit, parent) that differ, folders included."""
        return diffs.changes_along(self.handle, line, below=below, limit_s=limit_s)

    def ancestors_not_in(self, commit: str, excluding: Iterable[str]) -> list[str]:
        """Oldest first, `commit` itself last."""
        return commits.ancestors_not_in(self.handle, commit, excluding)

    def has_commit(self, oid: str) -> bool:
        """Whether this repository holds the commit, reachable or not."""
        return refs.is_commit(self.handle, oid)

    def merge_base(self, ours: str, theirs: str) -> str | None:
        """The newest commit that both descend from, or None."""
        found = self.handle.merge_base(ours, theirs)
        return str(found) if found is not None else None

    def tree_id(self, commit: str) -> str:
        """git's id of the root folder: equal exactly when all files are equal."""
        return str(self.handle[commit].peel(pygit2.Tree).id)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return commits.is_ancestor(self.handle, ancestor, descendant)
