import gzip
import io
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hub.storage.errors import InvalidOperation, NotOwned
from hub.storage.git import AddFile, Author, DeleteFile, GitRepo, RepositoryPair, wire
from hub.storage.git.packets import GzipBody, format_packet
from hub.storage.git.quarantine import FOLDER, Quarantine, sweep_leftovers
from hub.storage.git.receiving import ZERO, RefCommand, RefResult, read_commands, receive
from tests.hub.storage.git.git_http_server import Door

MAIN = "refs/heads/main"
Git = Callable[..., str]


@pytest.fixture
def start(pair: RepositoryPair, alice: Author) -> str:
    oid = pair.members.commit(MAIN, [AddFile("README.md", b"# Tides\n")], author=alice, message="start")
    pair.publish(MAIN, oid)
    return oid


@pytest.fixture
def copy(start: str, address: str, tmp_path: Path, git: Git) -> Path:
    git(tmp_path, "clone", "-q", f"{address}/members.git", "copy")
    return tmp_path / "copy"


def write(copy: Path, git: Git, path: str, content: bytes, message: str = "change") -> str:
    (copy / path).parent.mkdir(parents=True, exist_ok=True)
    (copy / path).write_bytes(content)
    git(copy, "add", "-A")
    git(copy, "commit", "-q", "-m", message)
    return git(copy, "rev-parse", "HEAD").strip()


def is_clean(repo: GitRepo) -> bool:
    folder = repo.path / FOLDER
    return not folder.exists() or not list(folder.iterdir())


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_push_updates_a_branch(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], version: str
) -> None:
    oid = write(copy, git, "data/a.csv", b"1\n")
    said = git(copy, "-c", f"protocol.version={version}", "push", "origin", "HEAD:main")
    assert "main" in said
    assert pair.members.resolve("main") == oid
    assert pair.members.read(oid, "data/a.csv") == b"1\n"
    assert [(result.ref, result.ok) for result in doors["members.git"].results] == [(MAIN, True)]
    assert is_clean(pair.members)
    git(pair.members.path, "fsck", "--strict", "--full")


def test_a_first_push_into_an_empty_repository_works(
    pair: RepositoryPair, address: str, tmp_path: Path, git: Git
) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "new")
    oid = write(tmp_path / "new", git, "a", b"1")
    git(tmp_path / "new", "push", "-q", f"{address}/members.git", "main")
    assert pair.members.refs() == {MAIN: oid}


def test_new_branches_tags_and_deletions_arrive(pair: RepositoryPair, copy: Path, git: Git, start: str) -> None:
    git(copy, "push", "-q", "origin", "HEAD:refs/heads/dev", "HEAD:refs/tags/light")
    git(copy, "tag", "-a", "v1", "-m", "one")
    git(copy, "push", "-q", "origin", "v1")
    assert pair.members.refs().keys() == {MAIN, "refs/heads/dev", "refs/tags/light", "refs/tags/v1"}
    assert pair.members.resolve("v1") == pair.members.resolve("dev") == start
    git(copy, "push", "-q", "origin", ":dev", ":refs/tags/light")
    assert pair.members.refs().keys() == {MAIN, "refs/tags/v1"}
    said = git(copy, "push", "origin", ":refs/heads/never", check=False)
    assert "does not exist" in said


def test_a_forced_push_replaces_and_an_honest_one_is_refused_by_the_client(
    pair: RepositoryPair, copy: Path, git: Git, alice: Author, start: str
) -> None:
    pair.members.commit(MAIN, [AddFile("b", b"2")], author=alice, message="meanwhile")
    oid = write(copy, git, "a", b"1")
    assert "rejected" in git(copy, "push", "origin", "HEAD:main", check=False)
    git(copy, "push", "-q", "--force", "origin", "HEAD:main")
    assert pair.members.resolve("main") == oid


def test_a_push_to_refs_for_main_lands_where_the_judge_says(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    def judge(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        (command,) = commands
        assert (command.old, command.ref) == (None, "refs/for/main") and command.new is not None
        assert quarantine.list_new_commits(command.new) == [command.new]
        assert quarantine.repo.read(command.new, "a") == b"1"
        assert [item.path for item in quarantine.repo.new_blobs(command.new, quarantine.known)] == ["a"]
        assert quarantine.options == ("title=Better tides",)
        quarantine.tell("Looking at 1 commit")
        return [RefResult(command, written="refs/pr/12")]

    doors["members.git"].judge = judge
    doors["members.git"].after = lambda results: ["", "View the pull request:", "  http://hub/tides/discussions/12"]
    oid = write(copy, git, "a", b"1")
    said = git(copy, "push", "-o", "title=Better tides", "origin", "HEAD:refs/for/main")
    assert pair.members.refs() == {MAIN: start, "refs/pr/12": oid}
    assert "remote: Looking at 1 commit" in said
    assert "remote:   http://hub/tides/discussions/12" in said
    assert "HEAD -> refs/pr/12" in said


def test_a_push_to_a_pull_request_updates_it(pair: RepositoryPair, copy: Path, git: Git) -> None:
    first = write(copy, git, "a", b"1")
    git(copy, "push", "-q", "origin", "HEAD:refs/pr/1")
    assert pair.members.resolve("refs/pr/1") == first
    second = write(copy, git, "a", b"2")
    git(copy, "push", "-q", "origin", "HEAD:refs/pr/1")
    assert pair.members.resolve("refs/pr/1") == second


def test_a_refused_push_shows_the_sentence_and_leaves_no_object(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    sentence = "a.env:1 holds a token; remove it from the commit and push again."

    def judge(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        return [RefResult(command, refusal=sentence) for command in commands]

    doors["members.git"].judge = judge
    oid = write(copy, git, "a.env", b"KEY=1")
    said = git(copy, "push", "origin", "HEAD:main", check=False)
    assert f"! [remote rejected] HEAD -> main ({sentence})" in said
    assert pair.members.refs() == {MAIN: start}
    assert not pair.members.handle.odb.exists(oid)
    assert is_clean(pair.members)


def test_a_judge_that_raises_refuses_all(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    def judge(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        quarantine.tell("Checking")
        raise NotOwned("w.bin is a large file that was not uploaded; run 'git lfs push' first.")

    doors["members.git"].judge = judge
    write(copy, git, "w.bin", b"1")
    said = git(copy, "push", "origin", "HEAD:main", "HEAD:dev", check=False)
    assert said.count("run 'git lfs push' first.") == 2 and "remote: Checking" in said
    assert pair.members.refs() == {MAIN: start}


def refuse_dev(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
    return [RefResult(command, refusal="Not dev." if command.ref == "refs/heads/dev" else None) for command in commands]


def test_of_a_push_only_what_was_accepted_is_kept(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door]
) -> None:
    doors["members.git"].judge = refuse_dev
    good = write(copy, git, "a", b"good")
    bad = write(copy, git, "b", b"bad")
    said = git(copy, "push", "origin", f"{good}:main", f"{bad}:refs/heads/dev", check=False)
    assert "(Not dev.)" in said
    assert pair.members.resolve("main") == good
    assert pair.members.handle.odb.exists(good) and not pair.members.handle.odb.exists(bad)
    git(pair.members.path, "fsck", "--strict", "--full")


def test_an_atomic_push_moves_all_or_nothing(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    doors["members.git"].judge = refuse_dev
    oid = write(copy, git, "a", b"good")
    said = git(copy, "push", "--atomic", "origin", "HEAD:main", "HEAD:dev", check=False)
    assert "(Not dev.)" in said and "(The push is atomic and another reference was refused.)" in said
    assert pair.members.refs() == {MAIN: start}
    git(copy, "push", "-q", "--atomic", "origin", "HEAD:main", "HEAD:refs/heads/x")
    assert pair.members.resolve("main") == pair.members.resolve("x") == oid


def test_who_was_overtaken_during_the_judgement_is_told_so(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], alice: Author
) -> None:
    def judge(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
        pair.members.commit(MAIN, [AddFile("quick", b"1")], author=alice, message="quicker")
        return [RefResult(command) for command in commands]

    doors["members.git"].judge = judge
    write(copy, git, "a", b"1")
    said = git(copy, "push", "origin", "HEAD:main", "HEAD:refs/heads/side", check=False)
    assert "'main' has moved meanwhile; fetch, look at the changes and push again." in said
    assert pair.members.commit_info(pair.members.resolve("main")).title == "quicker"
    assert "refs/heads/side" in pair.members.refs()
    assert [result.ok for result in doors["members.git"].results] == [False, True]


def test_a_large_push_arrives_chunked(pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door]) -> None:
    content = random.Random(1).randbytes(5_000_000)
    oid = write(copy, git, "noise.bin", content)
    git(copy, "push", "-q", "origin", "HEAD:main")
    posts = [headers for headers in doors["members.git"].seen if headers["service"] == "git-receive-pack"]
    assert posts[-1].get("transfer-encoding") == "chunked"
    assert pair.members.read(oid, "noise.bin") == content


def test_a_push_beyond_the_limit_is_refused_with_words(
    pair: RepositoryPair, copy: Path, git: Git, doors: dict[str, Door], start: str
) -> None:
    doors["members.git"].limit_bytes = 2_000_000
    write(copy, git, "noise.bin", random.Random(1).randbytes(4_000_000))
    said = git(copy, "push", "origin", "HEAD:main", check=False)
    assert "larger than 2000000 bytes; put large files under git-lfs" in said
    assert pair.members.refs() == {MAIN: start}
    assert is_clean(pair.members)


def test_a_shallow_clone_can_push(
    pair: RepositoryPair, start: str, address: str, tmp_path: Path, git: Git, alice: Author
) -> None:
    for n in range(3):
        pair.members.commit(MAIN, [AddFile("n", b"%d" % n)], author=alice, message=str(n))
    git(tmp_path, "clone", "-q", "--depth=1", f"{address}/members.git", "copy")
    oid = write(tmp_path / "copy", git, "a", b"1")
    git(tmp_path / "copy", "push", "-q", "origin", "HEAD:main")
    assert pair.members.resolve("main") == oid
    assert len(pair.members.history(oid)) == 5
    git(pair.members.path, "fsck", "--strict", "--full")


def test_a_shallow_clone_of_something_else_is_asked_to_fetch_the_rest(
    pair: RepositoryPair, copy: Path, address: str, tmp_path: Path, git: Git, start: str
) -> None:
    for n in range(3):
        write(copy, git, "a", b"%d" % n)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{copy}", "shallow")
    said = git(tmp_path / "shallow", "push", f"{address}/members.git", "HEAD:refs/heads/other", check=False)
    assert "git fetch --unshallow" in said
    assert pair.members.refs() == {MAIN: start}


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


def build_pack(git: Git, copy: Path, oids: list[str]) -> bytes:
    name = git(copy, "pack-objects", "-q", "x", stdin="".join(f"{oid}\n" for oid in oids)).strip()
    return (copy / f"x-{name}.pack").read_bytes()


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


def test_a_compressed_body_reads_like_a_plain_one() -> None:
    data = os.urandom(300_000) + b"\0" * 3_000_000
    body = GzipBody(io.BytesIO(gzip.compress(data)))
    pieces = []
    while piece := body.read(70_000):
        assert len(piece) <= 70_000
        pieces.append(piece)
    assert b"".join(pieces) == data
    for broken in (b"plain text", gzip.compress(data)[:-9], b""):
        with pytest.raises(InvalidOperation):
            reader = GzipBody(io.BytesIO(broken))
            while reader.read(70_000):
                pass


def test_a_deleted_file_stays_in_history_after_a_push(
    pair: RepositoryPair, copy: Path, git: Git, alice: Author
) -> None:
    """Both doors write the same repository: what one made, the other edits."""
    write(copy, git, "a", b"1")
    git(copy, "push", "-q", "origin", "HEAD:main")
    oid = pair.members.commit(MAIN, [DeleteFile("a")], author=alice, message="delete")
    git(copy, "pull", "-q", "--ff-only", "origin", "main")
    assert git(copy, "rev-parse", "HEAD").strip() == oid and not (copy / "a").exists()
