"""References: read through libgit2, moved by compare-and-swap through `git update-ref --stdin`.

git takes `<ref>.lock` with O_EXCL, compares the old value under it, syncs and renames: atomic between processes.
Our own writers also queue at one `flock` for each repository, so they seldom collide, and a lock file that
a killed git left behind is recognised: nobody else can be at work while we hold the queue."""

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from hub.storage.errors import InvalidOperation, StaleParent, StorageError, UnknownRevision
from hub.storage.git.objects import sync_folder
from hub.storage.git.operations import ANY, FULL_SHA, Anything, check_ref, is_valid_ref, short_name
from hub.storage.git.processes import GitFailed, held_locks, run_git

QUEUE_S = 60.0  # longest wait for another writer
ABANDONED_S = 10.0  # git holds a reference's lock for milliseconds


@dataclass(frozen=True)
class RefMove:
    ref: str
    new: str | None  # None deletes
    expected: str | None | Anything  # None: must not exist


def read_ref(handle: pygit2.Repository, ref: str) -> str | None:
    """The object that a full reference name points to (a tag object stays one), None when there is none."""
    if not is_valid_ref(ref):
        return None
    try:
        reference = handle.lookup_reference(ref).resolve()
    except (KeyError, ValueError, pygit2.GitError):
        return None
    return str(reference.target)


def list_refs(handle: pygit2.Repository, prefix: str = "refs/") -> dict[str, str]:
    found: dict[str, str] = {}
    for raw in handle.raw_listall_references():
        name = raw.decode(errors="replace")
        target = read_ref(handle, name) if name.startswith(prefix) else None
        if target is not None:
            found[name] = target
    return dict(sorted(found.items()))


def resolve(handle: pygit2.Repository, revision: str) -> str:
    """The commit that a full sha, a full reference name, a branch or a tag (in this order) stands for."""
    if FULL_SHA.fullmatch(revision):
        if is_commit(handle, revision):
            return revision
        raise UnknownRevision(f"Commit {revision} does not exist in this repository.")
    names = [revision] if revision.startswith("refs/") or revision == "HEAD" else []
    for name in [*names, f"refs/heads/{revision}", f"refs/tags/{revision}"]:
        target = read_ref(handle, name)
        if target is not None:
            return peel(handle, target)
    raise UnknownRevision(f"Revision {revision[:100]!r} does not exist; name a branch, a tag or a full commit id.")


def is_commit(handle: pygit2.Repository, oid: str) -> bool:
    try:
        return bool(handle.odb.read_header(oid)[0] == ObjectType.COMMIT)
    except (KeyError, ValueError):
        return False


def peel(handle: pygit2.Repository, oid: str) -> str:
    """The commit behind a commit or tag id. Raises UnknownRevision for anything else."""
    try:
        return str(handle[oid].peel(pygit2.Commit).id)
    except (KeyError, ValueError, pygit2.GitError):
        raise UnknownRevision(f"{oid} is no commit in this repository.") from None


@contextlib.contextmanager
def queue(folder: Path, name: str = "write.lock", *, limit_s: float = QUEUE_S) -> Iterator[None]:
    """One writer at a time, between threads and processes; the kernel lets go when the holder and its git died."""
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + limit_s
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StorageError("The repository is busy with another write; try again in a minute.")
            time.sleep(random.uniform(0.001, 0.005))
        token = held_locks.set((*held_locks.get(), descriptor))
        try:
            yield
        finally:
            held_locks.reset(token)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def move_refs(folder: Path, moves: Sequence[RefMove]) -> None:
    """Move all or none. The caller stands in the repository's queue.

    Raises StaleParent when a reference is not what `expected` says, UnknownRevision when a target is missing."""
    for move in moves:
        check_ref(move.ref)
    handle = pygit2.Repository(str(folder))
    _refuse_stale(handle, moves)
    lines = [line for move in moves for line in _format_move(handle, move)]
    if not lines:
        return
    script = "".join(f"{line}\n" for line in ["start", *lines, "prepare", "commit"]).encode()
    try:
        _run_transaction(folder, script)
    except GitFailed as failure:
        # Somebody outside our queue may have been quicker: then the honest answer is "stale".
        _refuse_stale(pygit2.Repository(str(folder)), moves)
        raise _explain(failure, moves) from None
    for parent in {(folder / move.ref).parent for move in moves}:
        if parent.is_dir():
            sync_folder(parent)


def _refuse_stale(handle: pygit2.Repository, moves: Sequence[RefMove]) -> None:
    for move in moves:
        found = read_ref(handle, move.ref)
        if move.expected is not ANY and found != move.expected:
            raise StaleParent(stale_sentence(move.ref, found, move.expected))


def stale_sentence(ref: str, found: str | None, expected: str | None | Anything) -> str:
    if found is None:
        return f"'{short_name(ref)}' does not exist any more; fetch and try again."
    if expected is None:
        return f"'{short_name(ref)}' exists already at {found}; choose another name or update it."
    return f"'{short_name(ref)}' has moved to {found}, not {expected}; fetch, look at the changes and try again."


def _format_move(handle: pygit2.Repository, move: RefMove) -> list[str]:
    if move.new is None:
        # Deleting what is not there is done already.
        return [f"delete {move.ref} {old}"] if (old := read_ref(handle, move.ref)) else []
    if not FULL_SHA.fullmatch(move.new) or not handle.odb.exists(move.new):
        raise UnknownRevision(f"'{short_name(move.ref)}' cannot point to {move.new[:40]}: no such object here.")
    if not _stands(handle, move.new):
        raise UnknownRevision(f"'{short_name(move.ref)}' stands on commits that were purged meanwhile; begin again.")
    if move.expected is ANY:
        return [f"update {move.ref} {move.new}"]
    return [f"update {move.ref} {move.new} {move.expected or '0' * 40}"]


def _stands(handle: pygit2.Repository, oid: str) -> bool:
    """Whether what it is made of is here: a purge may have taken it since the object was written."""
    try:
        commit = handle[oid].peel(pygit2.Commit)
    except (KeyError, ValueError, pygit2.GitError):
        return True  # no commit: git itself says whether the reference may point there
    return all(handle.odb.exists(part) for part in (commit.tree_id, *commit.parent_ids))


def _run_transaction(folder: Path, script: bytes) -> None:
    try:
        run_git(folder, "update-ref", "--no-deref", "--stdin", stdin=script)
    except GitFailed as failure:
        if ".lock': File exists" not in failure.stderr or not _remove_abandoned_lock(failure.stderr):
            raise
        run_git(folder, "update-ref", "--no-deref", "--stdin", stdin=script)


def _remove_abandoned_lock(stderr: str) -> bool:
    """Remove the lock file that git names, when its owner must be dead. True when it was."""
    lock = Path(stderr.split("Unable to create '")[1].split("': File exists")[0])
    with contextlib.suppress(FileNotFoundError):
        if time.time() - lock.stat().st_mtime < ABANDONED_S:
            return False
        lock.unlink()
    return True


def _explain(failure: GitFailed, moves: Sequence[RefMove]) -> StorageError:
    names = ", ".join(f"'{short_name(move.ref)}'" for move in moves[:3])
    if "cannot create" in failure.stderr:
        return InvalidOperation(f"{names} collides with a branch or tag that is a folder of it; choose another name.")
    if "non-commit object" in failure.stderr:
        return InvalidOperation(f"{names} can only point to a commit.")
    if "File exists" in failure.stderr:
        return StorageError(f"{names} is being moved by somebody else; try again in a moment.")
    return failure


def moves_to(current: Mapping[str, str], wanted: Mapping[str, str]) -> list[RefMove]:
    """What turns `current` into exactly `wanted`; deletions first, so that names may turn into folders."""
    gone = [RefMove(ref, None, oid) for ref, oid in current.items() if ref not in wanted]
    changed = [RefMove(ref, oid, current.get(ref)) for ref, oid in wanted.items() if current.get(ref) != oid]
    return gone + changed
