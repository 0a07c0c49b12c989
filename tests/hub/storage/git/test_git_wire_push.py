"""Pushes of members, and what the judge says of them."""

import gzip
import io
import os
import random
from pathlib import Path

import pytest

from hub.storage.errors import InvalidOperation, NotOwned
from hub.storage.git import AddFile, Author, DeleteFile, RepositoryPair
from hub.storage.git.packets import GzipBody
from hub.storage.git.quarantine import Quarantine
from hub.storage.git.receiving import RefCommand, RefResult
from tests.hub.storage.git.git_http_server import Door
from tests.hub.storage.git.pushing import MAIN, Git, is_clean, write


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
