import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hub.storage.errors import InvalidOperation, StorageError, UnknownPath, UnknownRevision
from hub.storage.git import AddFile, Author, GitRepo, RepositoryPair
from hub.storage.git import pair as pair_module

MAIN = "refs/heads/main"
Git = Callable[..., str]


def all_objects(repo: GitRepo, git: Git) -> set[str]:
    """Every object the repository could serve, borrowed ones included."""
    return set(git(repo.path, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split())


def own_objects(repo: GitRepo, git: Git, tmp_path: Path) -> set[str]:
    """Every object in the repository's own folders."""
    alternates = repo.path / "objects" / "info" / "alternates"
    aside = tmp_path / "aside"
    if not alternates.exists():
        return all_objects(repo, git)
    alternates.rename(aside)
    try:
        return all_objects(repo, git)
    finally:
        aside.rename(alternates)


def reachable(repo: GitRepo, git: Git, *tips: str) -> set[str]:
    return set(git(repo.path, "rev-list", "--objects", "--no-object-names", *tips).split())


@pytest.fixture
def line(pair: RepositoryPair, alice: Author) -> list[str]:
    return [
        pair.members.commit(
            MAIN,
            [AddFile("rows.csv", b"row %d\n" % n * 50), AddFile(f"d/{n}", b"%d" % n)],
            author=alice,
            message=str(n),
        )
        for n in range(4)
    ]


def test_a_new_pair_is_empty_and_making_it_twice_is_harmless(
    pair: RepositoryPair, tmp_path: Path, alice: Author
) -> None:
    assert pair.exists() and pair.members.exists() and pair.public.exists()
    oid = pair.members.commit(MAIN, [], author=alice, message="one")
    pair.create()
    assert pair.members.resolve("main") == oid
    assert pair.public.refs() == {}
    assert not RepositoryPair(tmp_path / "other").exists()


def test_what_is_published_is_readable_and_complete(pair: RepositoryPair, line: list[str], git: Git) -> None:
    pair.publish(MAIN, line[1])
    assert pair.public.refs() == {MAIN: line[1]}
    assert pair.public.read(line[1], "d/1") == b"1"
    git(pair.public.path, "fsck", "--strict", "--full")
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[1])


def test_the_public_half_holds_nothing_else(pair: RepositoryPair, line: list[str], git: Git, alice: Author) -> None:
    """Deltas are the danger: the pending version is the best base for the public one."""
    pending = pair.members.commit("refs/pr/1", [AddFile("secret", b"KEY")], author=alice, message="p", base=line[3])
    git(pair.members.path, "repack", "-adfq", "--depth=50", "--window=50")
    pair.publish(MAIN, line[2])
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[2])
    hidden = reachable(pair.members, git, pending, line[3], f"^{line[2]}")
    assert len(hidden) >= 8
    for oid in hidden:
        with pytest.raises((UnknownRevision, UnknownPath)):
            pair.public.read_blob(oid)
        with pytest.raises(UnknownRevision):
            pair.public.resolve(oid)
        assert not pair.public.handle.odb.exists(oid)


def test_publishing_again_writes_nothing(pair: RepositoryPair, line: list[str], git: Git) -> None:
    pair.publish(MAIN, line[1])
    before = sorted(path.name for path in (pair.public.path / "objects").rglob("*"))
    pair.publish(MAIN, line[1])
    pair.publish("refs/tags/v1", line[0])
    assert sorted(path.name for path in (pair.public.path / "objects").rglob("*")) == before
    assert pair.public.refs() == {MAIN: line[1], "refs/tags/v1": line[0]}


def test_each_publication_brings_only_what_is_new(pair: RepositoryPair, line: list[str], git: Git) -> None:
    for oid in line:
        pair.publish(MAIN, oid)
        assert all_objects(pair.public, git) == reachable(pair.members, git, oid)
    git(pair.public.path, "fsck", "--strict", "--full")


def test_an_annotated_tag_is_published_with_its_commit(pair: RepositoryPair, line: list[str], git: Git) -> None:
    git(pair.members.path, "-c", "user.name=a", "-c", "user.email=a@b", "tag", "-a", "v1", "-m", "x", line[0])
    tag = pair.members.read_ref("refs/tags/v1")
    assert tag is not None
    pair.publish("refs/tags/v1", tag)
    assert pair.public.resolve("v1") == line[0]
    pair.publish("refs/tags/v1", tag)
    pair.publish(MAIN, line[1])
    git(pair.public.path, "fsck", "--strict", "--full")


def test_a_reference_is_unpublished(pair: RepositoryPair, line: list[str]) -> None:
    pair.publish(MAIN, line[0])
    pair.publish(MAIN, None)
    pair.publish("refs/heads/never", None)
    assert pair.public.refs() == {}


def test_what_does_not_exist_cannot_be_published(pair: RepositoryPair, line: list[str]) -> None:
    with pytest.raises(StorageError):
        pair.publish(MAIN, "8" * 40)
    with pytest.raises(InvalidOperation):
        pair.publish("main", line[0])
    with pytest.raises(UnknownRevision):
        pair.retract({MAIN: "8" * 40})
    assert pair.public.refs() == {}


def test_objects_without_a_reference_do_not_count_as_public(pair: RepositoryPair, line: list[str], git: Git) -> None:
    """A crash between copying and moving the reference leaves a pack; half of one must not be trusted."""
    raw = pair.members.handle.odb.read(line[1])[1]
    pair.public.handle.odb.write(pair.members.handle.odb.read(line[1])[0], raw)
    pair.publish(MAIN, line[1])
    git(pair.public.path, "fsck", "--strict", "--full")


def test_members_do_not_store_twice_what_is_public(
    pair: RepositoryPair, line: list[str], git: Git, tmp_path: Path
) -> None:
    pair.publish(MAIN, line[2])
    pair.maintain()
    public = all_objects(pair.public, git)
    assert own_objects(pair.members, git, tmp_path) == reachable(pair.members, git, line[3]) - public
    git(pair.members.path, "fsck", "--strict", "--full")


def test_maintenance_loses_no_unreachable_object(
    pair: RepositoryPair, line: list[str], alice: Author, git: Git
) -> None:
    loose = pair.members.merge(line[0], line[2], author=alice, message="candidate")
    pair.publish(MAIN, line[3])
    pair.publish(MAIN, line[0])
    before = all_objects(pair.members, git)
    pair.maintain()
    assert all_objects(pair.members, git) == before
    assert pair.members.commit_info(loose).title == "candidate"
    assert pair.members.resolve("main") == line[3] and pair.public.resolve("main") == line[0]
    pair.members.move_ref(MAIN, line[2], line[3])  # from packed back to loose
    assert pair.members.resolve("main") == line[2]
    packs = list((pair.members.path / "objects" / "pack").glob("*.pack"))
    assert len(packs) <= 1


@pytest.mark.parametrize("is_maintained", [True, False])
def test_a_retraction_takes_objects_from_the_public_and_none_from_members(
    pair: RepositoryPair, line: list[str], git: Git, is_maintained: bool
) -> None:
    pair.publish(MAIN, line[3])
    pair.publish("refs/tags/v2", line[2])
    if is_maintained:
        pair.maintain()  # now the members' half really borrows
    before = all_objects(pair.members, git)
    pair.retract({MAIN: line[1]})
    assert pair.public.refs() == {MAIN: line[1]}
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[1])
    assert all_objects(pair.members, git) == before
    assert pair.members.resolve("main") == line[3]
    for repo in (pair.members, pair.public):
        git(repo.path, "fsck", "--strict", "--full")
    pair.publish(MAIN, line[3])
    assert pair.public.read(line[3], "d/3") == b"3"


def test_everything_can_be_retracted(pair: RepositoryPair, line: list[str], git: Git) -> None:
    pair.publish(MAIN, line[3])
    pair.maintain()
    pair.retract({})
    assert pair.public.refs() == {}
    assert all_objects(pair.public, git) == set()
    assert pair.members.read(line[3], "d/3") == b"3"
    git(pair.members.path, "fsck", "--strict", "--full")
    pair.retract({})


def test_a_retraction_may_bring_references_too_and_turn_a_name_into_a_folder(
    pair: RepositoryPair, line: list[str], git: Git
) -> None:
    pair.publish("refs/heads/dev", line[0])
    pair.retract({"refs/heads/dev/one": line[2], MAIN: line[1]})
    assert pair.public.refs() == {"refs/heads/dev/one": line[2], MAIN: line[1]}
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[2])


def test_a_reader_that_was_open_before_sees_nothing_retracted(pair: RepositoryPair, line: list[str]) -> None:
    pair.publish(MAIN, line[3])
    reader = GitRepo(pair.public.path)
    blob = reader.entry(line[3], "d/3")
    assert blob is not None and reader.read_blob(blob.oid) == b"3"
    pair.retract({MAIN: line[0]})
    with pytest.raises(UnknownRevision):
        reader.commit_info(line[3])
    with pytest.raises(UnknownPath):
        reader.read_blob(blob.oid)


STEPS = ("copy_to_public", "_keep_for_members", "_point_public_at", "prune_public")


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_retraction_that_broke_off_is_completed_later(
    pair: RepositoryPair, line: list[str], git: Git, monkeypatch: pytest.MonkeyPatch, step: str, is_after: bool
) -> None:
    pair.publish(MAIN, line[3])
    pair.maintain()
    real = getattr(RepositoryPair, step)

    def break_off(*arguments: object) -> None:
        if is_after:
            real(*arguments)
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(RepositoryPair, step, break_off)
        with pytest.raises(RuntimeError):
            pair.retract({MAIN: line[1]})
    git(pair.members.path, "fsck", "--strict", "--full")
    assert RepositoryPair(pair.folder).recover() is True
    assert RepositoryPair(pair.folder).recover() is False
    assert pair.public.refs() == {MAIN: line[1]}
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[1])
    git(pair.members.path, "fsck", "--strict", "--full")


def publish_and_retract(folder: Path, line: list[str], is_at_work: Any) -> None:
    pair = RepositoryPair(folder)
    while True:
        pair.publish(MAIN, line[3])
        is_at_work.set()
        pair.maintain()
        pair.retract({MAIN: line[0]})


def test_kill_9_at_any_moment_loses_nothing(pair: RepositoryPair, line: list[str], git: Git) -> None:
    before = all_objects(pair.members, git)
    context = multiprocessing.get_context("spawn")
    for n in range(6):
        is_at_work = context.Event()
        worker = context.Process(target=publish_and_retract, args=(pair.folder, line, is_at_work))
        worker.start()
        assert worker.pid is not None and is_at_work.wait(60)
        time.sleep(0.01 + 0.06 * n)  # one round takes about 0.2 s
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(30)
        git(pair.members.path, "fsck", "--connectivity-only")
        assert all_objects(pair.members, git) >= before
    pair.retract({MAIN: line[0]})
    assert all_objects(pair.public, git) == reachable(pair.members, git, line[0])
    git(pair.members.path, "fsck", "--strict", "--full")
    git(pair.public.path, "fsck", "--strict", "--full")


def test_members_may_write_while_the_public_half_shrinks(pair: RepositoryPair, line: list[str], git: Git) -> None:
    pair.publish(MAIN, line[3])
    pair.maintain()
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=rewrite_old_rows, args=(pair.members.path,))
    writer.start()
    for _ in range(4):
        pair.retract({MAIN: line[0]})
        pair.publish(MAIN, line[3])
        pair.maintain()
    writer.join(120)
    assert writer.exitcode == 0
    pair.retract({})
    git(pair.members.path, "fsck", "--strict", "--full")
    assert len(pair.members.history(pair.members.resolve("main"), limit=100)) == 4 + 40


def rewrite_old_rows(members: Path) -> None:
    """Contents that the public half holds already: the writer finds them there and stores no copy."""
    author = Author("Bob", "bob@example.org", datetime(2026, 11, 2, tzinfo=UTC))
    for n in range(40):
        operations = [AddFile("rows.csv", b"row %d\n" % (n % 4) * 50)]
        GitRepo(members).commit(MAIN, operations, author=author, message=f"again {n}")


def test_the_pair_can_move_to_another_folder(pair: RepositoryPair, line: list[str], tmp_path: Path, git: Git) -> None:
    pair.publish(MAIN, line[3])
    pair.maintain()
    (tmp_path / "deep").mkdir()
    pair.folder.rename(tmp_path / "deep" / "moved")
    moved = RepositoryPair(tmp_path / "deep" / "moved")
    assert moved.members.read(line[3], "d/3") == b"3"
    git(moved.members.path, "fsck", "--strict", "--full")


def test_two_publishers_do_not_meet(pair: RepositoryPair, line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pair_module.queue(pair.folder, pair_module.LOCK):
        monkeypatch.setattr("hub.storage.git.refs.QUEUE_S", 0.0)
        short = pair_module.queue(pair.folder, pair_module.LOCK, limit_s=0.1)
        with pytest.raises(StorageError, match="busy"), short:
            pass
