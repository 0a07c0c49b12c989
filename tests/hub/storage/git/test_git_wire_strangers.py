"""Pushes of those who see the public half only: they get at nothing that is pending."""

import io
import os
import subprocess
from pathlib import Path

import pytest

from hub.storage.git import AddFile, Author, RepositoryPair, wire
from hub.storage.git.packets import format_packet
from hub.storage.git.quarantine import Quarantine
from hub.storage.git.receiving import ZERO, RefCommand, RefResult, receive
from tests.hub.storage.git.pushing import MAIN, Git, build_pack, write

# Strangers


@pytest.fixture
def pending(pair: RepositoryPair, start: str, alice: Author) -> str:
    """What members hold and strangers must not learn."""
    return pair.members.commit(MAIN, [AddFile("secret.txt", b"the pending words\n")], author=alice, message="pending")


def test_a_stranger_pushes_a_pull_request_on_the_public_half_and_continues_it(
    pair: RepositoryPair, pending: str, start: str, address: str, tmp_path: Path, git: Git
) -> None:
    git(tmp_path, "clone", "-q", f"{address}/stranger.git", "copy")
    copy = tmp_path / "copy"
    first = write(copy, git, "mine.csv", b"row\n" * 500)
    git(copy, "push", "-q", "origin", "HEAD:refs/pr/7")
    second = write(copy, git, "mine.csv", b"row\n" * 501)  # a thin pack: the base is in their own pull request only
    git(copy, "push", "-q", "origin", "HEAD:refs/pr/7")
    assert pair.members.ancestors_not_in(second, [start]) == [first, second]
    assert pair.members.resolve("main") == pending
    assert not pair.public.handle.odb.exists(first)
    git(pair.members.path, "fsck", "--strict", "--full")


def test_a_stranger_is_not_told_of_pending_commits(pair: RepositoryPair, pending: str, start: str) -> None:
    shown = wire.advertise(
        pair.members, "git-receive-pack", protocol=None, visible=lambda ref: False, public=pair.public
    )
    assert start.encode() in shown and pending.encode() not in shown


def test_a_stranger_cannot_take_pending_content_by_naming_its_id(
    pair: RepositoryPair, pending: str, start: str, address: str, tmp_path: Path, git: Git
) -> None:
    """A commit may name a blob that it does not bring, if the server has it: then it would be theirs to read."""
    git(tmp_path, "clone", "-q", f"{address}/stranger.git", "copy")
    copy = tmp_path / "copy"
    entry = pair.members.entry(pending, "secret.txt")
    assert entry is not None
    tree = git(copy, "mktree", "--missing", stdin=f"100644 blob {entry.oid}\tmine.txt\n").strip()
    grab = git(copy, "commit-tree", tree, "-p", start, "-m", "grab").strip()
    pack = build_pack(git, copy, [grab, tree])
    for number, (borrow, is_refused) in enumerate(
        [({"public": pair.public, "visible": lambda ref: False}, True), ({}, False)]
    ):
        command = f"{ZERO} {grab} refs/pr/{number}\0report-status".encode()
        answer = receive(
            pair.members,
            io.BytesIO(format_packet(command) + b"0000" + pack),
            judge=lambda quarantine, commands: [RefResult(command) for command in commands],
            **borrow,  # type: ignore[arg-type]
        )
        assert (b"ng refs/pr/" in answer and b"misses objects" in answer) is is_refused, answer
    assert "refs/pr/0" not in pair.members.refs() and "refs/pr/1" in pair.members.refs()


def test_what_no_commit_names_stays_out_of_the_repository(
    pair: RepositoryPair, copy: Path, start: str, git: Git
) -> None:
    """No judge has seen it, and members can fetch it by its id: a purged secret would be back."""
    secret = git(copy, "hash-object", "-w", "--stdin", stdin="key = hunter2\n").strip()
    tree = git(copy, "rev-parse", f"{start}^{{tree}}").strip()
    tip = git(copy, "commit-tree", tree, "-p", start, "-m", "innocent").strip()
    old = git(copy, "rev-parse", f"{start}:README.md").strip()
    for number, stray in enumerate([[secret], [old]]):  # what is here already does no harm
        pack = build_pack(git, copy, [tip, *stray])
        request = format_packet(f"{ZERO} {tip} refs/heads/b{number}\0report-status".encode()) + b"0000" + pack
        answer = receive(
            pair.members, io.BytesIO(request), judge=lambda _, commands: [RefResult(command) for command in commands]
        )
        assert f"ok refs/heads/b{number}".encode() in answer, answer
        assert pair.members.read_ref(f"refs/heads/b{number}") == tip
        assert not pair.members.handle.odb.exists(secret)
    git(pair.members.path, "fsck", "--strict", "--full")


def test_a_stranger_cannot_copy_pending_content_through_a_delta(
    pair: RepositoryPair, start: str, address: str, tmp_path: Path, git: Git, alice: Author
) -> None:
    """A thin pack may say "that blob, with one byte more": unpacked, the pending words would be in their commit."""
    words = os.urandom(3000).hex().encode()
    pending = pair.members.commit(MAIN, [AddFile("secret.txt", words)], author=alice, message="pending")
    git(tmp_path, "clone", "-q", f"{address}/members.git", "insider")
    insider = tmp_path / "insider"
    (insider / "secret.txt").write_bytes(words + b"!")
    git(insider, "add", "-A")
    git(insider, "commit", "-q", "-m", "thin")
    tip = git(insider, "rev-parse", "HEAD").strip()
    with open(tmp_path / "thin.pack", "wb") as pack:
        subprocess.run(
            ["git", "pack-objects", "--revs", "--thin", "--stdout", "-q"],
            cwd=insider,
            input=f"{tip}\n^{pending}\n".encode(),
            stdout=pack,
            check=True,
        )
    thin = (tmp_path / "thin.pack").read_bytes()
    assert len(thin) < 1500  # it really leans on the pending blob
    request = format_packet(f"{ZERO} {tip} refs/pr/7\0report-status".encode()) + b"0000" + thin

    def accept(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        return [RefResult(command) for command in commands]

    answer = receive(
        pair.members, io.BytesIO(request), judge=accept, public=pair.public, visible=lambda ref: ref == "refs/pr/7"
    )
    assert b"ng refs/pr/7" in answer and pair.members.read_ref("refs/pr/7") is None
    assert b"ok refs/pr/7" in receive(pair.members, io.BytesIO(request), judge=accept)
