from collections.abc import Callable

import pytest

from hub.storage.errors import MergeConflict, UnknownRevision
from hub.storage.git import AddFile, AddPointer, Author, DeleteFile, GitRepo

MAIN = "refs/heads/main"
PULL = "refs/pr/1"
Git = Callable[..., str]


@pytest.fixture
def base(repo: GitRepo, alice: Author) -> str:
    files = [AddFile("a", b"1\n2\n3\n4\n5\n6\n7\n8\n"), AddFile("d/b", b"x\n"), AddPointer("w", "ab" * 32, 1)]
    return repo.commit(MAIN, files, author=alice, message="base")


def test_a_merge_takes_both_sides_and_moves_nothing(repo: GitRepo, alice: Author, base: str, git: Git) -> None:
    ours = repo.commit(MAIN, [AddFile("a", b"one\n2\n3\n4\n5\n6\n7\n8\n")], author=alice, message="ours")
    theirs = repo.commit(
        PULL,
        [AddFile("a", b"1\n2\n3\n4\n5\n6\n7\neight\n"), AddFile("d/c", b"y")],
        author=alice,
        message="t",
        base=base,
    )
    merged = repo.merge(ours, theirs, author=alice, message="Merge", trailers={"Pull-Request": "1"})
    assert repo.read(merged, "a") == b"one\n2\n3\n4\n5\n6\n7\neight\n"
    assert repo.read(merged, "d/c") == b"y"
    info = repo.commit_info(merged)
    assert (info.parents, info.message) == ((ours, theirs), "Pull-Request: 1")
    assert repo.resolve("main") == ours
    git(repo.path, "fsck", "--strict", "--full")


def test_a_merge_that_could_be_a_fast_forward_is_still_a_commit(repo: GitRepo, alice: Author, base: str) -> None:
    theirs = repo.commit(PULL, [AddFile("n", b"1")], author=alice, message="theirs", base=base)
    merged = repo.merge(base, theirs, author=alice, message="Merge")
    assert repo.commit_info(merged).parents == (base, theirs)
    assert repo.tree(merged) == repo.tree(theirs)
    backward = repo.merge(theirs, base, author=alice, message="Merge")
    assert repo.tree(backward) == repo.tree(theirs)


def test_a_conflict_names_its_paths(repo: GitRepo, alice: Author, base: str) -> None:
    ours = repo.commit(
        MAIN, [AddFile("d/b", b"ours\n"), DeleteFile("a"), AddPointer("w", "cd" * 32, 1)], author=alice, message="ours"
    )
    theirs = repo.commit(
        PULL,
        [AddFile("d/b", b"theirs\n"), AddFile("a", b"1\n"), AddPointer("w", "ef" * 32, 1)],
        author=alice,
        message="theirs",
        base=base,
    )
    with pytest.raises(MergeConflict) as caught:
        repo.merge(ours, theirs, author=alice, message="Merge")
    assert caught.value.paths == ["a", "d/b", "w"]


def test_two_changes_of_one_large_file_are_never_merged_by_content(repo: GitRepo, alice: Author, base: str) -> None:
    ours = repo.commit(MAIN, [AddPointer("w", "ab" * 32, 1), AddPointer("v", "01" * 32, 5)], author=alice, message="o")
    theirs = repo.commit(PULL, [AddPointer("v", "01" * 31 + "02", 6)], author=alice, message="t", base=base)
    with pytest.raises(MergeConflict) as caught:
        repo.merge(ours, theirs, author=alice, message="Merge")
    assert caught.value.paths == ["v"]


def test_lines_without_a_common_start_merge_when_they_share_no_file(repo: GitRepo, alice: Author, base: str) -> None:
    other = repo.commit("refs/pr/2", [AddFile("alone", b"1")], author=alice, message="orphan")
    merged = repo.merge(base, other, author=alice, message="Merge")
    assert [entry.path for entry in repo.tree(merged)] == ["a", "alone", "d", "w"]


def test_an_unknown_side_is_refused(repo: GitRepo, alice: Author, base: str) -> None:
    with pytest.raises(UnknownRevision):
        repo.merge(base, "7" * 40, author=alice, message="Merge")


def test_whoever_knows_a_files_meaning_may_end_its_conflict(repo: GitRepo, alice: Author, base: str, git: Git) -> None:
    both = [AddFile("list", b"a\n"), AddFile("other", b"1\n")]
    start = repo.commit(MAIN, both, author=alice, message="start")
    ours = repo.commit(MAIN, [AddFile("list", b"a\nb\n"), AddFile("other", b"2\n")], author=alice, message="ours")
    theirs = repo.commit(PULL, [AddFile("list", b"a\nc\n")], author=alice, message="theirs", base=start)
    asked = []

    def resolve(path: str, before: bytes | None, left: bytes, right: bytes) -> bytes | None:
        asked.append((path, before, left, right))
        return b"a\nb\nc\n" if path == "list" else None

    merged = repo.merge(ours, theirs, author=alice, message="Merge", resolve=resolve)
    assert repo.read(merged, "list") == b"a\nb\nc\n" and repo.read(merged, "other") == b"2\n"
    assert asked == [("list", b"a\n", b"a\nb\n", b"a\nc\n")]
    git(repo.path, "fsck", "--strict", "--full")
    clashing = repo.commit(PULL, [AddFile("other", b"3\n")], author=alice, message="more", base=theirs)
    with pytest.raises(MergeConflict) as conflict:
        repo.merge(ours, clashing, author=alice, message="Merge", resolve=resolve)
    assert conflict.value.paths == ["other"]
