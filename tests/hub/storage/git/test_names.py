"""Names that read as others, or that are one file on the disk of somebody else, come in by no door."""

import pytest

from hub.storage.errors import InvalidOperation, MergeConflict
from hub.storage.git import AddFile, Author, DeleteFile, DeleteFolder, GitRepo, check_path
from hub.storage.git.inspection import TreeInspector
from hub.storage.git.operations import fold_name
from hub.storage.git.trees import FILE, Leaf, format_tree, root_of

MAIN = "refs/heads/main"
COMPOSED, APART = "caf\u00e9.txt", "cafe\u0301.txt"  # the same word; macOS writes the second
TWINS = [
    ("README.md", "readme.md"),
    ("data/A.csv", "data/a.csv"),
    ("Data/a.csv", "data/b.csv"),
    ("data", "DATA/a.csv"),
    (COMPOSED, APART),
    ("d\u00e9/a", "de\u0301/b"),
    ("CAF\u00c9.txt", APART),
    ("\u0416.txt", "\u0436.txt"),
    (".gitattributes", ".GitAttributes"),
]
PAIRS = [
    ("a.txt", "b.txt"),
    ("data/a.csv", "other/A.csv"),
    ("strasse", "stra\u00dfe"),
    ("cafe.txt", COMPOSED),
    ("a", "a b"),
    ("\u65e5\u672c", "\u65e5\u672c\u8a9e"),
]


def commit(repo: GitRepo, author: Author, *operations: object, ref: str = MAIN, **more: object) -> str:
    return repo.commit(ref, list(operations), author=author, message="x", **more)


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_two_names_that_are_one_file_elsewhere_are_refused(repo: GitRepo, alice: Author, one: str, other: str) -> None:
    with pytest.raises(InvalidOperation, match="are one file on Windows and macOS"):
        commit(repo, alice, AddFile(one, b"1"), AddFile(other, b"2"))
    assert repo.refs() == {}
    head = commit(repo, alice, AddFile(one, b"1"))
    with pytest.raises(InvalidOperation, match="are one file on Windows and macOS"):
        commit(repo, alice, AddFile(other, b"2"))
    assert repo.resolve("main") == head
    remove = DeleteFolder(one.split("/")[0]) if "/" in one else DeleteFile(one)
    commit(repo, alice, remove, AddFile(other, b"2"))  # so a name's case is changed
    assert [entry.path for entry in repo.tree(repo.resolve("main"), recursive=True) if entry.type == "file"] == [other]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_names_that_every_disk_tells_apart_are_taken(repo: GitRepo, alice: Author, one: str, other: str) -> None:
    commit(repo, alice, AddFile(one, b"1"), AddFile(other, b"2"))
    head = commit(repo, alice, AddFile(one, b"3"))
    TreeInspector(repo.handle).inspect([root_of(repo.handle, head)])


@pytest.mark.parametrize(("one", "other"), TWINS)
def test_a_merge_does_not_join_them(repo: GitRepo, alice: Author, one: str, other: str) -> None:
    base = commit(repo, alice, AddFile("x", b"x"))
    ours = commit(repo, alice, AddFile(one, b"1"))
    theirs = commit(repo, alice, AddFile(other, b"2"), ref="refs/pr/1", base=base)
    with pytest.raises(MergeConflict):
        repo.merge(ours, theirs, author=alice, message="Merge")
    other_way = commit(repo, alice, AddFile("y/z", b"2"), ref="refs/pr/2", base=base)
    repo.merge(ours, other_way, author=alice, message="Merge")


@pytest.mark.parametrize(("one", "other"), [pair for pair in TWINS if "/" not in "".join(pair)])
def test_a_pushed_tree_does_not_hold_them(repo: GitRepo, one: str, other: str) -> None:
    blob = str(repo.handle.create_blob(b"x"))
    raw = format_tree({name.encode(): Leaf(FILE, blob) for name in (one, other)})
    tree = str(repo.handle.odb.write(2, raw))  # 2: a tree
    with pytest.raises(InvalidOperation, match="are one file on Windows and macOS"):
        TreeInspector(repo.handle).inspect([tree])


def test_names_that_were_found_good_do_not_vouch_for_others(repo: GitRepo) -> None:
    blob = str(repo.handle.create_blob(b"x"))

    def tree(*names: bytes) -> str:
        return str(repo.handle.odb.write(2, format_tree({name: Leaf(FILE, blob) for name in names})))

    inspector = TreeInspector(repo.handle)
    inspector.inspect([tree(b"a", b"b"), tree(b"a", b"b", b"c")])
    for names, words in [((b"a", b"b\\c"), "backslash"), ((b"a", b"B", b"b"), "one file on Windows")]:
        with pytest.raises(InvalidOperation, match=words):
            inspector.inspect([tree(*names)])


@pytest.mark.parametrize(
    "name",
    [
        "photo\u202egpj.exe",
        "\u202areport.txt",
        "a\u2066b\u2069.txt",
        "two\u2028lines.txt",
        "next\u0085line.txt",
        "csi\u009b31m.txt",
        "dir\u202e/a.txt",
    ],
)
def test_a_name_that_reads_as_another_is_refused(repo: GitRepo, alice: Author, name: str) -> None:
    with pytest.raises(InvalidOperation, match="rename the file"):
        check_path(name)
    with pytest.raises(InvalidOperation):
        commit(repo, alice, AddFile(name, b"1"))
    assert repo.refs() == {}


def test_a_name_with_letters_that_nobody_sees_is_refused() -> None:
    for hidden in ("\u200b", "\u2060", "\ufeff", "\u3164", "\u200d", "\U000e0041", "\ufe00\ufe01\ufe02\ufe03"):
        with pytest.raises(InvalidOperation, match="nobody sees; rename the file"):
            check_path(f"folder/rows{hidden}2.txt")


def test_names_in_scripts_that_join_their_letters_are_taken() -> None:
    for name in (
        "flag \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f.png",
        "\u845b\U000e0100.txt",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
        "\u05e9\u05dc\u05d5\u05dd.csv",
        "family \U0001f468\u200d\U0001f469.png",
    ):
        assert check_path(name) == name
    assert fold_name(b"caf\xe9") != fold_name(b"cafe")  # not UTF-8: another check refuses it
