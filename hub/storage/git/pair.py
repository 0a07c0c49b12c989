"""Two repositories for one: the members' takes all writes, the public one holds cleared objects only.

git serves any object it holds to whoever knows its id, so what strangers must not read is missing from the
repository they read. The members' repository borrows the public one's objects (alternates): what is public is
stored once. Hence one rule of order: an object leaves the public half only after the members' half has its own copy."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from hub.storage.errors import UnknownRevision
from hub.storage.git.commits import ancestors_not_in
from hub.storage.git.objects import copy_exactly, copy_objects, write_durably
from hub.storage.git.operations import ANY, check_ref
from hub.storage.git.processes import LONG_S, run_git
from hub.storage.git.quarantine import sweep_leftovers
from hub.storage.git.refs import move_refs, moves_to, peel, queue
from hub.storage.git.repository import GitRepo

LOCK = "pair.lock"
JOURNAL = "retract.json"


class RepositoryPair:
    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def members(self) -> GitRepo:
        return GitRepo(self.folder / "members.git")

    @cached_property
    def public(self) -> GitRepo:
        return GitRepo(self.folder / "public.git")

    def create(self) -> None:
        """Both halves, empty; a private repository simply never publishes. A second call completes the first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.public.create()
        # Relative, so that the data folder may move.
        self.members.create(borrows_from=["../../public.git/objects"])

    def exists(self) -> bool:
        return self.members.exists()

    def remove(self) -> None:
        """Delete both halves for good. Missing folders are fine: a second call completes the first."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, ref: str, commit: str | None) -> None:
        """Copy `commit` with all its ancestors into the public half and let `ref` there point to it.

        None deletes the public reference; its objects stay readable by id until `retract`. The caller has checked
        clearance of everything that `commit` reaches. Idempotent; a crash leaves objects without a reference."""
        check_ref(ref)
        with queue(self.folder, LOCK):
            self.finish_retraction()
            if commit is not None:
                self.copy_to_public([commit])
            self.public.move_ref(ref, commit, ANY)

    def retract(self, ref_map: Mapping[str, str]) -> None:
        """Let the public references be exactly `ref_map` and forget every public object they do not reach.

        The members' half keeps all of it. After a crash anywhere in between, the next publish, retract or recover
        completes it; until then it may still be readable by id."""
        for ref in ref_map:
            check_ref(ref)
        with queue(self.folder, LOCK):
            self.finish_retraction()
            self._refuse_unknown(ref_map)
            write_durably(self.folder / JOURNAL, json.dumps(dict(ref_map)).encode())
            self.finish_retraction()

    def recover(self) -> bool:
        """Complete a retraction that a crash interrupted. True when there was one."""
        with queue(self.folder, LOCK):
            return self.finish_retraction()

    def maintain(self) -> None:
        """Fold many small packs, loose objects and references into one each, losing none, reachable or not."""
        with queue(self.folder, LOCK):
            self.finish_retraction()
            _repack(self.public, keep_unreachable=True)
            # Only what the public half does not hold; it cannot shrink meanwhile, since we hold the pair's lock.
            _repack(self.members, "-l", keep_unreachable=True)
        for repo in (self.members, self.public):
            run_git(repo.path, "pack-refs", "--all")
            sweep_leftovers(repo)

    def _refuse_unknown(self, ref_map: Mapping[str, str]) -> None:
        odb = self.members.handle.odb
        for ref, oid in ref_map.items():
            if not odb.exists(oid):
                raise UnknownRevision(f"'{ref}' cannot point to {oid[:40]}: no such object in this repository.")

    def copy_to_public(self, wanted: list[str]) -> None:
        """The caller holds the pair's lock."""
        held = sorted(set(self.public.refs().values()))
        missing = [oid for oid in dict.fromkeys(wanted) if not self._is_public(oid, held)]
        if not missing:
            return
        copy_objects(self.members.path, self.public.path, wanted=missing, held=held)
        # The public half borrows from nobody: this proves it complete before anything points there.
        given = "".join(f"{oid}\n" for oid in missing).encode()
        arguments = ["rev-list", "--objects", "--quiet", "--stdin", "--not", "--all"]
        run_git(self.public.path, *arguments, stdin=given, limit_s=LONG_S)

    def _is_public(self, oid: str, held: list[str]) -> bool:
        """Whether public references reach the object; merely lying there, after a crash, is not enough."""
        if not self.public.handle.odb.exists(oid):
            return False
        tips = [peel(self.public.handle, tip) for tip in held]
        return not ancestors_not_in(self.members.handle, peel(self.members.handle, oid), tips)

    def finish_retraction(self) -> bool:
        """What a crash left of one; whether there was any. The caller holds the pair's lock."""
        journal = self.folder / JOURNAL
        if not journal.exists():
            return False
        wanted: dict[str, str] = json.loads(journal.read_bytes())
        self.copy_to_public(list(wanted.values()))
        self._keep_for_members(wanted)
        self._point_public_at(wanted)
        self.prune_public()
        journal.unlink()
        return True

    def _keep_for_members(self, wanted: Mapping[str, str]) -> None:
        """Give the members' half its own copy of every public object that is about to go."""
        doomed = list_object_ids(self.public) - list_reachable(self.public, wanted)
        if doomed:
            copy_exactly(self.public.path, self.members.path, sorted(doomed))

    def _point_public_at(self, wanted: Mapping[str, str]) -> None:
        with queue(self.public.path):
            moves = moves_to(self.public.refs(), wanted)
            # Deletions first: git cannot make 'a/b' in the transaction that deletes 'a'.
            move_refs(self.public.path, [move for move in moves if move.new is None])
            move_refs(self.public.path, [move for move in moves if move.new is not None])

    def prune_public(self) -> None:
        """Forget what its references do not reach. The caller holds the pair's lock."""
        _repack(self.public, keep_unreachable=False)
        run_git(self.public.path, "prune", "--expire=now", limit_s=LONG_S)
        # Handles that other processes keep open compare this time and let go of what they had mapped.
        now = time.time_ns()
        os.utime(self.public.path / "objects" / "pack", ns=(now, now))


def list_object_ids(repo: GitRepo) -> set[str]:
    arguments = ["--batch-all-objects", "--unordered", "--batch-check=%(objectname)"]
    return set(run_git(repo.path, "cat-file", *arguments, limit_s=LONG_S).decode().split())


def list_reachable(repo: GitRepo, wanted: Mapping[str, str]) -> set[str]:
    if not wanted:
        return set()
    given = "".join(f"{oid}\n" for oid in wanted.values()).encode()
    output = run_git(repo.path, "rev-list", "--objects", "--no-object-names", "--stdin", stdin=given, limit_s=LONG_S)
    return set(output.decode().split())


def _repack(repo: GitRepo, *options: str, keep_unreachable: bool) -> None:
    keeping = ["-k"] if keep_unreachable else []
    run_git(repo.path, "repack", "-a", "-d", "-n", "-q", *keeping, *options, limit_s=LONG_S)
