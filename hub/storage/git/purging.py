"""Taking files out of both halves of a repository for good: every reference moves to a history without them, and the old
objects leave the disk at once, so that nobody fetches them by id.

New objects come first and change nothing. Then a journal says what is to happen, and from there on a killed process
leaves work that `purge` completes when it is called again: members' references, public references, objects of the
members' half, objects of the public half. The journal stays until the caller has brought its own rows in line."""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hub.storage.errors import StorageError
from hub.storage.git.objects import sync_folder, write_durably
from hub.storage.git.pair import LOCK, RepositoryPair, list_object_ids, list_reachable
from hub.storage.git.processes import LONG_S, run_git
from hub.storage.git.refs import RefMove, move_refs, queue
from hub.storage.git.repository import GitRepo
from hub.storage.git.rewriting import Rewriter
from hub.storage.git.stamps import renew_stamp

JOURNAL = "purge.json"
Journal = dict[str, Any]


def purge(both: RepositoryPair, key: str, blobs: Iterable[str]) -> Journal:
    """Carry it out, or complete what was begun under this key. Returns the journal: {"key", "commits": {old: new},
    "holding": old ones that held such a file, "refs": {ref: [old, new]} of the members' half, "public": likewise,
    "is_done"}.

    Raises StorageError while another purge of this repository is not completed."""
    rewriter = Rewriter(both.members, blobs)
    rewriter.run()  # Outside the locks: a long history takes a while, and what comes meanwhile is little.
    with queue(both.folder, LOCK), queue(both.members.path):
        journal = read_journal(both)
        if journal is not None and journal["key"] != key:
            raise StorageError("Another purge of this repository is not completed yet; try again in a minute.")
        if journal is None or not journal["is_done"]:
            both.finish_retraction()  # it names commits that are gone afterwards
            journal = write_journal(both, plan(both, key, rewriter, journal))
            complete(both, journal)
            journal = write_journal(both, {**journal, "is_done": True, "doomed": []})
    return journal


def read_journal(both: RepositoryPair) -> Journal | None:
    try:
        found: Journal = json.loads((both.folder / JOURNAL).read_bytes())
    except FileNotFoundError:
        return None
    return found


def forget_journal(both: RepositoryPair, key: str) -> None:
    """The rows are in line. Safe to repeat."""
    journal = read_journal(both)
    if journal is not None and journal["key"] == key and journal["is_done"]:
        (both.folder / JOURNAL).unlink()


def write_journal(both: RepositoryPair, journal: Journal) -> Journal:
    write_durably(both.folder / JOURNAL, json.dumps(journal).encode())
    return journal


def plan(both: RepositoryPair, key: str, rewriter: Rewriter, begun: Journal | None) -> Journal:
    """What is to happen. After a crash, what was written down then, and what others have built on the old history since."""
    found = rewriter.run()
    before = begun or {"commits": {}, "tags": {}, "holding": [], "refs": {}, "public": {}, "doomed": []}
    commits, tags = {**found.commits, **before["commits"]}, {**found.tags, **before["tags"]}
    new = {**commits, **tags}
    return {
        "key": key,
        "commits": commits,
        "tags": tags,
        "holding": sorted({*before["holding"], *found.holding}),
        "refs": before["refs"] | {ref: [oid, new[oid]] for ref, oid in both.members.refs().items() if oid in new},
        "public": before["public"] | {ref: [oid, new[oid]] for ref, oid in both.public.refs().items() if oid in new},
        "doomed": sorted({*before["doomed"], *rewriter.blobs, *found.trees, *new}),
        "is_done": False,
    }


def complete(both: RepositoryPair, journal: Journal) -> None:
    """Each step may be repeated. The caller holds the pair's lock and the members' queue."""
    renew_stamp(both.members.path)
    move_on(both.members, journal["refs"])
    both.copy_to_public([new for _, new in journal["public"].values()])
    with queue(both.public.path):
        move_on(both.public, journal["public"])
    doomed = set(journal["doomed"])
    # What the public half keeps is borrowed from it; all else that is not doomed gets a place in the members' half.
    borrowed = list_reachable(both.public, both.public.refs())
    drop_objects(both.members, doomed | borrowed)
    both.prune_public()


def move_on(repo: GitRepo, moves: dict[str, list[str]]) -> None:
    """In one transaction. What has its new place already, or was deleted since, stays as it is."""
    current = repo.refs()
    move_refs(repo.path, [RefMove(ref, new, old) for ref, (old, new) in moves.items() if current.get(ref) == old])


def drop_objects(repo: GitRepo, gone: set[str]) -> None:
    """Put all objects but `gone` into one pack of the repository's own, and remove the files that held them before.

    Writers bring objects before they stand in the queue: files that appear while we pack are left alone."""
    objects = repo.path / "objects"
    before = list_files(objects)
    kept = sorted(list_object_ids(repo) - gone)
    name = ""
    if kept:
        arguments = ["pack-objects", "-q", "--delta-base-offset", str(objects / "pack" / "pack")]
        given = "".join(f"{oid}\n" for oid in kept).encode()
        name = run_git(repo.path, *arguments, stdin=given, limit_s=LONG_S).decode().strip()
    sync_folder(objects / "pack")
    # An index first: without its pack it would promise objects.
    for file in sorted(before, key=lambda file: file.suffix != ".idx"):
        if file.stem != f"pack-{name}":
            with suppress(FileNotFoundError):
                file.unlink()
    for folder in {file.parent for file in before}:
        sync_folder(folder)
    # Handles that other processes keep open compare this time and let go of what they had mapped.
    now = time.time_ns()
    os.utime(objects / "pack", ns=(now, now))


def list_files(objects: Path) -> list[Path]:
    """Packs with their indexes, loose objects, and what git derives from them."""
    packs = [file for file in (objects / "pack").glob("*") if file.name.startswith(("pack-", "multi-pack-index"))]
    loose = [file for file in objects.glob("??/*") if not file.name.startswith("tmp_")]
    derived = [objects / "info" / "commit-graph", objects / "info" / "packs"]
    return [*packs, *loose, *(file for file in derived if file.exists())]
