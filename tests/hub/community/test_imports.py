"""A folder on the server's disk becomes a repository, through the same entry as every other door."""

import hashlib

import pytest

from hub.common.errors import Forbidden, InvalidInput
from tests.hub.scenes import members_head

pytestmark = pytest.mark.django_db


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "old-data"
    files = {
        "README.md": b"# Tides\n",
        "data/rows.jsonl": b'{"high": 7}\n',
        "weights.safetensors": b"\0" * 2_000_000,
        ".git/config": b"[core]",
        ".cache/x": b"x",
        "src/__pycache__/y.pyc": b"y",
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "link.txt").symlink_to("/etc/hostname")
    return folder


def test_files_come_in_one_commit_large_ones_by_address_and_links_stay_out(alice, tides, folder):
    from hub.community.imports import import_folder
    from hub.repos.places import pair, store

    made = import_folder(folder=folder, repo=tides, by=alice.user, title="Import old-data")
    entries = {
        entry.path: entry
        for entry in pair(tides).members.tree(made.revision.commit, recursive=True)
        if entry.type == "file"
    }
    assert set(entries) == {".gitattributes", "README.md", "data/rows.jsonl", "weights.safetensors"}
    digest = hashlib.sha256(b"\0" * 2_000_000).hexdigest()
    assert entries["weights.safetensors"].lfs.sha256 == digest and store().find(digest).size == 2_000_000
    assert (made.revision.title, made.revision.author, made.revision.door) == ("Import old-data", alice.user, "hub")
    assert tides.contents.get(digest=f"sha256:{digest}").clearance == "pending"  # screened like everything else


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "only hidden"])
def test_without_files_there_is_nothing_to_import(alice, tides, tmp_path, kind):
    from hub.community.imports import import_folder

    folder = tmp_path / "x"
    if kind == "file":
        folder.write_text("x")
    elif kind != "missing":
        (folder / ".git").mkdir(parents=True)
        if kind == "only hidden":
            (folder / ".git" / "config").write_text("x")
    words = "is not a folder" if kind in ("missing", "file") else "holds no files"
    before = members_head(tides)
    with pytest.raises(InvalidInput, match=words):
        import_folder(folder=folder, repo=tides, by=alice.user)
    assert members_head(tides) == before


def test_a_name_that_no_tree_holds_is_refused_with_its_path(alice, tides, tmp_path):
    from hub.community.imports import import_folder
    from hub.storage.errors import InvalidOperation

    (tmp_path / "a\\b.txt").write_text("x")
    with pytest.raises(InvalidOperation, match="backslash"):
        import_folder(folder=tmp_path, repo=tides, by=alice.user)


def test_only_who_may_write_imports(charlie, tides, folder):
    from hub.community.imports import import_folder

    with pytest.raises(Forbidden):
        import_folder(folder=folder, repo=tides, by=charlie.user)
