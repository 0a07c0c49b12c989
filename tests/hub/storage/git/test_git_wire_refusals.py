"""What no push may bring: names, trees and commits that are dangerous to whoever clones, and what is no push at all."""

import io
import os
import time
from pathlib import Path

import pytest

from hub.storage.errors import InvalidOperation
from hub.storage.git import RepositoryPair
from hub.storage.git.packets import format_packet
from hub.storage.git.quarantine import FOLDER, Quarantine, sweep_leftovers
from hub.storage.git.receiving import ZERO, RefCommand, RefResult, read_commands, receive
from tests.hub.storage.git.git_http_server import Door
from tests.hub.storage.git.pushing import MAIN, Git, build_pack, is_clean, write


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".git", "hasDotgit"),
        ("..", "hasDotdot"),
        ("a/b", "fullPathname"),
        ("back\\slash", "backslash"),
        ("new\nline", "control character"),
        (".g\u200cit", "hasDotgit"),
        ("x" * 256, "longer than 255 bytes"),
    ],
)
def test_a_name_that_is_dangerous_in_a_clone_is_refused(
    pair: RepositoryPair, copy: Path, git: Git, start: str, name: str, words: str
) -> None:
    blob = git(copy, "hash-object", "-w", "--stdin", stdin="x").strip()
    raw = b"100644 " + name.encode() + b"\0" + bytes.fromhex(blob)
    (copy / "raw").write_bytes(raw)
    tree = git(copy, "hash-object", "-t", "tree", "-w", "--literally", "raw").strip()
    commit = git(copy, "commit-tree", tree, "-p", "HEAD", "-m", "x").strip()
    said = git(copy, "push", "origin", f"{commit}:refs/heads/odd", check=False)
    assert words in said
    assert pair.members.refs() == {MAIN: start}


def test_a_name_that_is_not_utf_8_is_refused(pair: RepositoryPair, copy: Path, git: Git, start: str) -> None:
    (copy / "caf\udce9.txt").write_bytes(b"x")
    git(copy, "add", "-A")
    git(copy, "commit", "-q", "-m", "latin")
    assert "not valid UTF-8; rename the file" in git(copy, "push", "origin", "HEAD:main", check=False)
    assert pair.members.refs() == {MAIN: start}


def test_a_submodule_is_refused(pair: RepositoryPair, copy: Path, git: Git, start: str) -> None:
    git(copy, "update-index", "--add", "--cacheinfo", f"160000,{start},sub")
    git(copy, "commit", "-q", "-m", "sub")
    assert "'sub' is a submodule" in git(copy, "push", "origin", "HEAD:main", check=False)


def test_a_tree_that_unfolds_without_end_is_refused_quickly(
    pair: RepositoryPair, copy: Path, git: Git, start: str
) -> None:
    kind, oid = "100644 blob", git(copy, "hash-object", "-w", "--stdin", stdin="x").strip()
    for _ in range(10):
        oid = git(copy, "mktree", stdin="".join(f"{kind} {oid}\tf{n}\n" for n in range(10))).strip()
        kind = "040000 tree"
    commit = git(copy, "commit-tree", oid, "-p", "HEAD", "-m", "bomb").strip()
    started = time.perf_counter()
    said = git(copy, "push", "origin", f"{commit}:refs/heads/bomb", check=False)
    assert "A commit may hold at most 1000000 files" in said
    assert time.perf_counter() - started < 20


def test_a_tree_deeper_than_we_walk_is_refused(pair: RepositoryPair, copy: Path, git: Git) -> None:
    write(copy, git, "/".join("a" * 65), b"deep")
    assert "more than 64 folders deep" in git(copy, "push", "origin", "HEAD:main", check=False)
    git(copy, "reset", "-q", "--hard", "HEAD~1")
    write(copy, git, "/".join("a" * 64), b"deep")
    git(copy, "push", "-q", "origin", "HEAD:main")


def test_a_malformed_commit_is_refused_with_gits_words(pair: RepositoryPair, copy: Path, git: Git, start: str) -> None:
    tree = git(copy, "rev-parse", "HEAD^{tree}").strip()
    text = f"tree {tree}\nauthor nobody\ncommitter C <c@d> 1 +0000\n\nx\n"
    oid = git(copy, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=text).strip()
    said = git(copy, "push", "origin", f"{oid}:refs/heads/odd", check=False)
    assert "malformed object" in said and "missingEmail" in said
    assert pair.members.refs() == {MAIN: start}


def test_a_branch_cannot_become_a_blob_or_an_annotated_tag(
    pair: RepositoryPair, copy: Path, git: Git, start: str
) -> None:
    git(copy, "tag", "-a", "v1", "-m", "x")
    tag = git(copy, "rev-parse", "v1").strip()
    said = git(copy, "push", "origin", f"{tag}:refs/pr/5", check=False)
    assert "can only point to a commit, not to a tag" in said
    blob = git(copy, "rev-parse", "HEAD:README.md").strip()
    said = git(copy, "push", "origin", f"{blob}:refs/tags/blob", check=False)
    assert "can only point to a commit" in said
    assert pair.members.refs() == {MAIN: start}


# Requests that no git client sends


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"00",
        b"zzzz",
        b"0003",
        b"fffe",
        format_packet(b"hello"),
        format_packet(b"x" * 40 + b" " + b"0" * 40 + b" refs/heads/a\0") + b"0000",
        format_packet(b"push-cert\0\n") + b"0000",
        format_packet(b"%s %s refs/heads/a" % (b"1" * 40, b"0" * 40)) * 2 + b"0000",
        format_packet(b"%s %s refs/heads/a" % (b"1" * 40, b"0" * 40)) * 5001 + b"0000",
    ],
)
def test_what_is_no_push_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidOperation):
        read_commands(io.BytesIO(body))


def test_a_probe_without_commands_is_answered_with_nothing(pair: RepositoryPair) -> None:
    assert receive(pair.members, io.BytesIO(b"0000"), judge=lambda *_: []) == b""


@pytest.mark.parametrize("ref", ["HEAD", "refs/heads/..", "refs/heads/a b", "../../x", "refs/heads/x.lock", "main"])
def test_a_reference_with_a_wrong_name_is_refused_one_by_one(pair: RepositoryPair, start: str, ref: str) -> None:
    lines = [f"{ZERO} {start} {ref}\0report-status".encode(), f"{ZERO} {start} refs/heads/good".encode()]
    pack = b"PACK\0\0\0\2\0\0\0\0" + bytes.fromhex("029d08823bd8a8eab510ad6ac75c823cfd3ed31e")
    body = b"".join(format_packet(line) for line in lines) + b"0000" + pack
    answer = receive(
        pair.members, io.BytesIO(body), judge=lambda _, commands: [RefResult(command) for command in commands]
    )
    assert f"ng {ref} ".encode() in answer and b"ok refs/heads/good" in answer
    assert pair.members.refs() == {MAIN: start, "refs/heads/good": start}


def test_a_push_that_ends_early_is_refused(pair: RepositoryPair, start: str, copy: Path, git: Git) -> None:
    oid = write(copy, git, "a", os.urandom(50_000))
    pack = build_pack(git, copy, git(copy, "rev-list", "--objects", "--no-object-names", oid, f"^{start}").split())
    head = format_packet(f"{start} {oid} {MAIN}\0report-status".encode()) + b"0000"
    for cut in (0, 11, 500, 30_000, len(pack) - 1):
        answer = receive(
            pair.members,
            io.BytesIO(head + pack[:cut]),
            judge=lambda _, commands: [RefResult(command) for command in commands],
        )
        assert b"ng refs/heads/main" in answer and b"push again" in answer
    assert pair.members.resolve("main") == start
    assert is_clean(pair.members)


def test_a_judge_that_forgets_a_command_is_a_mistake_of_ours(pair: RepositoryPair, start: str) -> None:
    body = format_packet(f"{start} {ZERO} {MAIN}\0report-status".encode()) + b"0000"
    with pytest.raises(AssertionError):
        receive(pair.members, io.BytesIO(body), judge=lambda *_: [])
    assert is_clean(pair.members)
    assert pair.members.resolve("main") == start


def test_what_a_killed_server_left_is_swept_after_a_day(pair: RepositoryPair, start: str, git: Git) -> None:
    left = [pair.members.path / FOLDER / "0123", pair.members.path / "objects" / "pack" / "tmp_pack_x"]
    (left[0] / "push.git").mkdir(parents=True)
    left[1].write_bytes(b"half a pack")
    assert sweep_leftovers(pair.members) == 0
    assert sweep_leftovers(pair.members, now=time.time() + 25 * 3600) == 2
    assert not any(path.exists() for path in left)
    git(pair.members.path, "fsck", "--strict", "--full")


def test_no_escape_sequence_reaches_the_terminal_of_who_pushes(
    copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    def judge(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        quarantine.tell("\x1b[2Jtold\r\nfake: line")
        return [RefResult(command, refusal="bad\x1b]0;title\x07\nname") for command in commands]

    doors["members.git"].judge = judge
    write(copy, git, "a", b"1")
    said = git(copy, "push", "origin", "HEAD:main", check=False)
    assert "remote:  [2Jtold  fake: line" in said and "(bad ]0;title  name)" in said
