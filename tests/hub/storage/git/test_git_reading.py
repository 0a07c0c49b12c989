import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pygit2
import pytest

from hub.storage.errors import TooLarge, UnknownPath, UnknownRevision
from hub.storage.git import (
    AddFile,
    AddPointer,
    Author,
    Change,
    DeleteFile,
    GitRepo,
    LfsPointer,
    TreeEntry,
    format_pointer,
    trees,
)

MAIN = "refs/heads/main"
Git = Callable[..., str]
POINTER = format_pointer("ab" * 32, 5_000_000_000)


@pytest.fixture
def head(repo: GitRepo, alice: Author) -> str:
    files = [AddFile("README.md", b"# hi\n"), AddFile("data/a.csv", b"1,2\n"), AddFile("data/sub/b.csv", b"3\n")]
    repo.commit(MAIN, files, author=alice, message="one")
    return repo.commit(MAIN, [AddPointer("data.bin", "ab" * 32, 5_000_000_000)], author=alice, message="two")


def blob(content: bytes) -> str:
    return str(pygit2.hash(content))


def test_a_tree_lists_files_with_the_sizes_people_mean(repo: GitRepo, head: str) -> None:
    pointer = LfsPointer("ab" * 32, 5_000_000_000, len(POINTER))
    data = repo.entry(head, "data")
    assert data is not None and data.type == "directory"
    assert repo.tree(head) == [
        TreeEntry("README.md", "file", blob(b"# hi\n"), 5, None),
        TreeEntry("data.bin", "file", blob(POINTER), 5_000_000_000, pointer),
        TreeEntry("data", "directory", data.oid, 0, None),
    ]
    assert repo.tree(head, "data/sub") == [TreeEntry("data/sub/b.csv", "file", blob(b"3\n"), 2, None)]


def test_a_recursive_tree_names_each_folder_before_its_files(repo: GitRepo, head: str) -> None:
    listed = [entry.path for entry in repo.tree(head, recursive=True)]
    assert listed == ["README.md", "data.bin", "data", "data/a.csv", "data/sub", "data/sub/b.csv"]
    assert [entry.path for entry in repo.tree(head, "data", recursive=True)] == listed[3:]


def test_pages_of_a_folder_together_are_the_folder(
    repo: GitRepo, head: str, alice: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MIN_LONG", 2)  # so that the folder is remembered
    for path, recursive in (("", False), ("", True), ("data", False), ("data", True)):
        whole = repo.tree(head, path, recursive=recursive)
        pages = [repo.tree_page(head, path, recursive=recursive, start=start, limit=2) for start in range(0, 6, 2)]
        assert [entry for page, _ in pages for entry in page] == whole
        assert {total for _, total in pages} == {len(whole)}
    changed = repo.commit(MAIN, [AddFile("README.md", b"# new\n"), AddFile("z", b"")], author=alice, message="three")
    assert [repo.tree_page(commit, start=0, limit=9)[0] for commit in (head, changed)] == [
        repo.tree(head), repo.tree(changed),
    ]  # fmt: skip
    with pytest.raises(UnknownPath):
        repo.tree_page(head, "nope", start=0, limit=1)


@pytest.mark.parametrize("damaged", [b"100644 a", b"100644 a\0" + b"1" * 19, b"x" + b"100644 a\0" + b"1" * 20])
def test_what_is_no_tree_is_not_read_as_one(damaged: bytes) -> None:
    assert list(trees.parse_tree(b"0040000 a\0" + b"1" * 20)) == [b"a"]
    with pytest.raises(ValueError, match="no git tree"):
        trees.parse_tree(b"100644 a\0" + b"\0" * 20 + damaged)


@pytest.mark.parametrize(
    "path", ["nope", "data/nope", "README.md", "README.md/x", "../..", "data//sub", "/data", "data/"]
)
def test_a_tree_of_no_folder_is_an_unknown_path(repo: GitRepo, head: str, path: str) -> None:
    with pytest.raises(UnknownPath):
        repo.tree(head, path)


def test_reading_a_missing_file_or_a_folder_is_an_unknown_path(repo: GitRepo, head: str) -> None:
    assert repo.entry(head, "nope") is None
    for path in ("nope", "data", "data/a.csv/x", ""):
        with pytest.raises(UnknownPath):
            repo.read(head, path)
    with pytest.raises(UnknownPath):
        repo.read_blob(head)
    with pytest.raises(UnknownRevision):
        repo.tree("4" * 40)
    with pytest.raises(UnknownRevision):
        repo.entry("main", "README.md")


def test_history_is_newest_first_and_pages(repo: GitRepo, alice: Author) -> None:
    made = [repo.commit(MAIN, [AddFile(f"f{n % 2}", b"%d" % n)], author=alice, message=str(n)) for n in range(6)]
    assert [info.oid for info in repo.history(made[-1])] == made[::-1]
    assert [info.title for info in repo.history(made[-1], skip=1, limit=2)] == ["4", "3"]
    assert [info.title for info in repo.history(made[-1], path="f0")] == ["4", "2", "0"]
    assert [info.title for info in repo.history(made[-1], path="f0", skip=1, limit=1)] == ["2"]
    assert repo.history(made[-1], path="*") == []


def test_a_child_comes_before_its_parent_whatever_their_clocks_say(repo: GitRepo, alice: Author) -> None:
    for n in range(3):
        author = Author("A", "a@b", alice.when - timedelta(days=n))
        repo.commit(MAIN, [], author=author, message=str(n))
    assert [info.title for info in repo.history(repo.resolve("main"))] == ["2", "1", "0"]


def test_a_commit_from_beyond_time_still_reads(repo: GitRepo, git: Git) -> None:
    tree = git(repo.path, "mktree", stdin="").strip()
    text = f"tree {tree}\nauthor A <a> 99999999999999999 +0000\ncommitter \xff <b> 99999999999999999 +0000\n\nhi\n"
    oid = git(repo.path, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=text).strip()
    assert repo.commit_info(oid).date == datetime(9999, 12, 31, tzinfo=UTC)


def test_changes_name_each_file_once(repo: GitRepo, alice: Author, head: str) -> None:
    operations = [AddFile("README.md", b"# ho\n"), DeleteFile("data/a.csv"), AddFile("data/new.csv", b"1,2\n")]
    after = repo.commit(MAIN, operations, author=alice, message="three")
    assert repo.changes(head, after) == [
        Change("README.md", "modified", blob(b"# hi\n"), blob(b"# ho\n")),
        Change("data/a.csv", "deleted", blob(b"1,2\n"), None),
        Change("data/new.csv", "added", None, blob(b"1,2\n")),
    ]
    assert repo.changes(head, head) == []
    assert [(change.path, change.kind) for change in repo.changes(None, head)] == [
        (path, "added") for path in ("README.md", "data.bin", "data/a.csv", "data/sub/b.csv")
    ]


def test_a_diff_is_unified_text(repo: GitRepo, alice: Author, head: str) -> None:
    after = repo.commit(
        MAIN, [AddFile("README.md", b"# ho\n"), AddFile("größe.bin", b"\0\1")], author=alice, message="3"
    )
    text = repo.diff_text(head, after, 10_000)
    assert "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-# hi\n+# ho\n" in text
    assert "Binary files" in text
    assert "+++ b/data/a.csv" in repo.diff_text(None, head, 10_000)


def test_a_long_diff_is_cut_at_a_line_and_says_so(repo: GitRepo, alice: Author, head: str) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(100_000))
    after = repo.commit(MAIN, [AddFile("long.txt", lines)], author=alice, message="long")
    text = repo.diff_text(head, after, 5_000)
    assert len(text) < 5_100
    *body, last = text.splitlines()
    assert last == "[The diff is longer than 5000 bytes and was cut here.]"
    assert body[-1].startswith("+line ")


def test_ancestors_come_oldest_first(repo: GitRepo, alice: Author) -> None:
    base = repo.commit(MAIN, [AddFile("a", b"1")], author=alice, message="base")
    side = [
        repo.commit("refs/pr/1", [AddFile("b", b"%d" % n)], author=alice, message=str(n), base=base) for n in range(3)
    ]
    other = repo.commit(MAIN, [AddFile("a", b"2")], author=alice, message="main")
    assert repo.ancestors_not_in(side[-1], [base]) == side
    assert repo.ancestors_not_in(side[-1], [other]) == side
    assert repo.ancestors_not_in(side[-1], [side[-1]]) == []
    assert repo.ancestors_not_in(side[-1], []) == [base, *side]
    assert repo.is_ancestor(base, side[0]) and repo.is_ancestor(base, base)
    assert not repo.is_ancestor(side[0], base) and not repo.is_ancestor(other, side[0])
    with pytest.raises(UnknownRevision):
        repo.ancestors_not_in(side[0], ["5" * 40])


def test_new_blobs_hold_everything_a_line_of_commits_brings(repo: GitRepo, alice: Author) -> None:
    base = repo.commit(MAIN, [AddFile("a", b"old"), AddFile("same", b"same")], author=alice, message="base")
    repo.commit("refs/pr/1", [AddFile("secret.env", b"KEY=1")], author=alice, message="oops", base=base)
    repo.commit("refs/pr/1", [DeleteFile("secret.env"), AddFile("a", b"new")], author=alice, message="hide")
    tip = repo.commit("refs/pr/1", [AddPointer("w.bin", "ab" * 32, 7), AddFile("n/é", b"")], author=alice, message="w")
    found = {(item.path, item.oid, item.size): item.pointer for item in repo.new_blobs(tip, [base])}
    pointer = format_pointer("ab" * 32, 7)
    assert found == {
        ("secret.env", blob(b"KEY=1"), 5): None,
        ("a", blob(b"new"), 3): None,
        ("w.bin", blob(pointer), len(pointer)): LfsPointer("ab" * 32, 7, len(pointer)),
        ("n/é", blob(b""), 0): None,
    }
    assert {item.path for item in repo.new_blobs(base, [])} == {"a", "same"}
    assert repo.new_blobs(tip, [tip]) == []


def test_new_blobs_see_what_only_a_merge_brought_and_what_came_back(repo: GitRepo, alice: Author) -> None:
    base = repo.commit(MAIN, [AddFile("a", b"1"), AddFile("b", b"1")], author=alice, message="base")
    main = repo.commit(MAIN, [AddFile("a", b"2")], author=alice, message="main")
    repo.commit("refs/pr/1", [AddFile("b", b"2")], author=alice, message="pull", base=base)
    evil = repo.commit("refs/pr/1", [AddFile("evil", b"!")], author=alice, message="merge", extra_parents=[main])
    assert {item.path for item in repo.new_blobs(evil, [main])} == {"b", "evil"}
    back = repo.commit(MAIN, [AddFile("a", b"1")], author=alice, message="revert")
    assert [(item.path, item.oid) for item in repo.new_blobs(back, [main])] == [("a", blob(b"1"))]


def test_one_content_under_two_names_is_two_new_blobs(repo: GitRepo, alice: Author) -> None:
    tip = repo.commit(MAIN, [AddFile("a.txt", b"x"), AddFile("a.pkl", b"x")], author=alice, message="one")
    assert {item.path for item in repo.new_blobs(tip, [])} == {"a.txt", "a.pkl"}


def test_submodules_and_links_do_not_confuse_a_listing(repo: GitRepo, alice: Author, git: Git) -> None:
    target = git(repo.path, "hash-object", "-w", "--stdin", stdin="../../etc/passwd").strip()
    tree = git(
        repo.path, "mktree", "--missing", stdin=f"160000 commit {'6' * 40}\tsub\n120000 blob {target}\tlink\n"
    ).strip()
    commit = git(repo.path, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", tree, "-m", "x").strip()
    repo.move_ref(MAIN, commit, None)
    assert [entry.path for entry in repo.tree(commit)] == ["link"]
    assert repo.tree_page(commit, start=0, limit=9) == (repo.tree(commit), 1)
    assert repo.read(commit, "link") == b"../../etc/passwd"
    assert repo.entry(commit, "sub") is None
    assert [item.path for item in repo.new_blobs(commit, [])] == ["link"]
    after = repo.commit(MAIN, [AddFile("link", b"plain")], author=alice, message="two")
    assert git(repo.path, "ls-tree", after, "link").startswith("100644")
    assert git(repo.path, "ls-tree", after, "sub").startswith("160000")


def test_trees_that_contain_each_other_do_not_unfold_without_end(
    repo: GitRepo, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_LISTED", 1000)
    leaf = git(repo.path, "hash-object", "-w", "--stdin", stdin="x").strip()
    kind, oid = "100644 blob", leaf
    for _ in range(10):
        oid = git(repo.path, "mktree", stdin="".join(f"{kind} {oid}\tf{n}\n" for n in range(10))).strip()
        kind = "040000 tree"
    commit = git(repo.path, "-c", "user.name=a", "-c", "user.email=a@b", "commit-tree", oid, "-m", "x").strip()
    started = time.perf_counter()
    with pytest.raises(TooLarge):
        repo.tree(commit, recursive=True)
    assert time.perf_counter() - started < 5


def test_an_open_repository_sees_what_another_process_wrote(repo: GitRepo, alice: Author) -> None:
    first = repo.commit(MAIN, [AddFile("a", b"1")], author=alice, message="one")
    reader = GitRepo(repo.path)
    assert reader.resolve("main") == first
    second = repo.commit(MAIN, [AddFile(f"f{n}", b"%d" % n) for n in range(40)], author=alice, message="pack")
    assert reader.resolve("main") == second
    assert len(reader.tree(second)) == 41


def test_what_is_read_is_plain_data(repo: GitRepo, head: str) -> None:
    """Callers put these into JSON and rows of a database."""
    info = repo.commit_info(head)
    json.dumps(
        [info.oid, *info.parents, info.title, info.author.name, *(item.oid for item in repo.new_blobs(head, []))]
    )
