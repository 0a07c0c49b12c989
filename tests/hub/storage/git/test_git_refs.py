import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hub.storage.errors import InvalidOperation, StaleParent, StorageError, UnknownRevision
from hub.storage.git import ANY, AddFile, Author, GitRepo, RefMove
from hub.storage.git.processes import start_git, stop_git
from hub.storage.git.refs import move_refs, queue

MAIN = "refs/heads/main"
Git = Callable[..., str]


@pytest.fixture
def two(repo: GitRepo, alice: Author) -> tuple[str, str]:
    first = repo.commit(MAIN, [AddFile("a", b"1")], author=alice, message="one")
    return first, repo.commit(MAIN, [AddFile("a", b"2")], author=alice, message="two")


def test_a_revision_is_a_branch_a_tag_a_reference_or_a_full_sha(repo: GitRepo, two: tuple[str, str], git: Git) -> None:
    first, second = two
    repo.move_ref("refs/tags/v1", first, None)
    repo.move_ref("refs/pr/1", first, None)
    git(repo.path, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "v2", "-m", "signed off", first)
    for name in ("v1", "v2", "refs/tags/v2", "refs/pr/1", first):
        assert repo.resolve(name) == first
    assert repo.resolve("main") == repo.resolve(MAIN) == repo.resolve("HEAD") == second
    assert repo.read_ref("refs/tags/v2") not in (first, second)  # the tag object itself
    assert list(repo.refs()) == [MAIN, "refs/pr/1", "refs/tags/v1", "refs/tags/v2"]
    assert repo.refs("refs/tags/v1") == {"refs/tags/v1": first}


@pytest.mark.parametrize("revision", ["nope", "", "main~1", "main^{tree}", "..", "a b", "1" * 40, "\0", "refs/heads/x"])
def test_an_unknown_revision_is_refused(repo: GitRepo, two: tuple[str, str], revision: str) -> None:
    with pytest.raises(UnknownRevision):
        repo.resolve(revision)


def test_a_tree_or_blob_id_is_no_revision(repo: GitRepo, two: tuple[str, str]) -> None:
    entry = repo.entry(two[0], "a")
    assert entry is not None
    for oid in (entry.oid, two[0][:12]):
        with pytest.raises(UnknownRevision):
            repo.resolve(oid)


def test_a_reference_moves_only_from_the_expected_value(repo: GitRepo, two: tuple[str, str]) -> None:
    first, second = two
    with pytest.raises(StaleParent, match="exists already"):
        repo.move_ref(MAIN, first, None)
    with pytest.raises(StaleParent, match="has moved to"):
        repo.move_ref(MAIN, first, first)
    with pytest.raises(StaleParent, match="does not exist any more"):
        repo.move_ref("refs/heads/dev", first, first)
    with pytest.raises(StaleParent):
        repo.move_ref(MAIN, None, first)
    assert repo.read_ref(MAIN) == second
    repo.move_ref(MAIN, first, second)
    repo.move_ref(MAIN, second, ANY)
    repo.move_ref("refs/heads/dev", first, None)
    repo.move_ref("refs/heads/dev", None, first)
    repo.move_ref("refs/heads/dev", None, ANY)
    repo.move_ref("refs/heads/dev", None, None)
    assert repo.refs() == {MAIN: second}


def test_several_references_move_together_or_not_at_all(repo: GitRepo, two: tuple[str, str]) -> None:
    first, second = two
    with pytest.raises(StaleParent):
        repo.move_refs([RefMove("refs/heads/a", first, None), RefMove(MAIN, first, first)])
    assert repo.refs() == {MAIN: second}
    repo.move_refs([RefMove("refs/heads/a", first, None), RefMove(MAIN, first, second)])
    assert repo.refs() == {"refs/heads/a": first, MAIN: first}


@pytest.mark.parametrize(
    "ref", ["main", "refs/main", "refs/heads/a b", "refs/heads/..", "refs/heads/x.lock", "refs/heads/\n"]
)
def test_a_name_git_does_not_accept_is_refused(repo: GitRepo, two: tuple[str, str], alice: Author, ref: str) -> None:
    with pytest.raises(InvalidOperation):
        repo.move_ref(ref, two[0], ANY)
    with pytest.raises(InvalidOperation):
        repo.commit(ref, [], author=alice, message="x")


def test_a_branch_cannot_be_the_folder_of_another(repo: GitRepo, two: tuple[str, str]) -> None:
    with pytest.raises(InvalidOperation, match="choose another name"):
        repo.move_ref("refs/heads/main/sub", two[0], None)


def test_a_reference_cannot_point_to_nothing_or_a_branch_to_a_blob(repo: GitRepo, two: tuple[str, str]) -> None:
    blob = repo.entry(two[0], "a")
    assert blob is not None
    with pytest.raises(UnknownRevision, match="no such object"):
        repo.move_ref(MAIN, "3" * 40, two[1])
    with pytest.raises(InvalidOperation, match="only point to a commit"):
        repo.move_ref(MAIN, blob.oid, two[1])


def test_a_lock_that_a_killed_git_left_behind_does_not_block_for_ever(repo: GitRepo, two: tuple[str, str]) -> None:
    lock = repo.path / f"{MAIN}.lock"
    lock.touch()
    with pytest.raises(StorageError, match="try again in a moment"):
        repo.move_ref(MAIN, two[0], two[1])
    os.utime(lock, (time.time() - 60, time.time() - 60))
    repo.move_ref(MAIN, two[0], two[1])
    assert repo.read_ref(MAIN) == two[0]


def write_fifty(path: Path, name: str, start: "multiprocessing.synchronize.Barrier") -> None:
    author = Author(name, f"{name}@example.org", datetime(2026, 11, 1, tzinfo=UTC))
    start.wait()
    for n in range(50):
        operations = [AddFile(f"{name}/{n}", b"%d" % n), AddFile("counter", f"{name} {n}".encode())]
        GitRepo(path).commit(MAIN, operations, author=author, message=f"{name} {n}")


def test_two_processes_commit_on_one_branch_and_nothing_is_lost(repo: GitRepo, alice: Author, git: Git) -> None:
    repo.commit(MAIN, [], author=alice, message="start")
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    writers = [context.Process(target=write_fifty, args=(repo.path, name, start)) for name in ("alice", "bob")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    head = repo.resolve("main")
    titles = [info.title for info in repo.history(head, limit=200)]
    assert sorted(titles) == sorted([f"{name} {n}" for name in ("alice", "bob") for n in range(50)] + ["start"])
    assert len(repo.tree(head, "alice")) == len(repo.tree(head, "bob")) == 50
    # Both really ran at once: neither finished before the other began.
    assert titles.index("alice 49") < titles.index("bob 0") and titles.index("bob 49") < titles.index("alice 0")
    git(repo.path, "fsck", "--strict", "--full")


def claim(
    path: Path, name: str, parent: str, start: "multiprocessing.synchronize.Barrier", won: "multiprocessing.Queue"
) -> None:
    author = Author(name, f"{name}@example.org", datetime(2026, 11, 1, tzinfo=UTC))
    start.wait()
    try:
        GitRepo(path).commit(MAIN, [AddFile(name, b"1")], author=author, message=name, expected_parent=parent)
    except StaleParent:
        won.put((name, False))
    else:
        won.put((name, True))


def test_of_many_who_state_the_same_parent_exactly_one_wins(repo: GitRepo, alice: Author) -> None:
    parent = repo.commit(MAIN, [], author=alice, message="start")
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(4), context.Queue()
    writers = [context.Process(target=claim, args=(repo.path, f"w{n}", parent, start, won)) for n in range(4)]
    for writer in writers:
        writer.start()
    results = dict(won.get(timeout=120) for _ in writers)
    for writer in writers:
        writer.join(60)
    winners = [name for name, has_won in results.items() if has_won]
    assert len(winners) == 1
    assert [info.title for info in repo.history(repo.resolve("main"))] == [winners[0], "start"]


def swap(
    path: Path,
    new: str,
    old: str,
    rounds: int,
    start: "multiprocessing.synchronize.Barrier",
    won: "multiprocessing.Queue",
) -> None:
    """Compare-and-swap without the queue: as any foreign git process would."""
    count = 0
    for n in range(rounds):
        start.wait()
        try:
            move_refs(path, [RefMove(f"refs/race/{n}", new, None)])
            count += 1
        except (StaleParent, StorageError):
            pass
    won.put(count)


def test_the_swap_itself_has_one_winner_even_without_our_queue(repo: GitRepo, two: tuple[str, str]) -> None:
    context = multiprocessing.get_context("spawn")
    start, won = context.Barrier(2), context.Queue()
    rounds = 40
    writers = [context.Process(target=swap, args=(repo.path, oid, oid, rounds, start, won)) for oid in two]
    for writer in writers:
        writer.start()
    wins = [won.get(timeout=120) for _ in writers]
    for writer in writers:
        writer.join(60)
    assert sum(wins) == rounds == len(repo.refs("refs/race/"))


def test_a_git_that_outlives_its_writer_keeps_the_next_one_waiting(repo: GitRepo) -> None:
    """Otherwise a repack orphaned by kill -9 could delete a pack that the next writer has just made again."""
    with queue(repo.path):
        orphan = start_git(repo.path, "cat-file", "--batch", stdin=subprocess.PIPE)
    try:
        with pytest.raises(StorageError, match="busy"), queue(repo.path, limit_s=0.2):
            pass
    finally:
        stop_git(orphan)
    with queue(repo.path, limit_s=5):
        pass
