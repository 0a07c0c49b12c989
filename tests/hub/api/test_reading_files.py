"""Reading with the stock client: trees, single paths, downloads, ranges, and what strangers do not get."""

import hashlib
import re

import pytest
import requests
from huggingface_hub import CommitOperationAdd, HfFileSystem
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError

from hub.repos.clearance import set_clearance
from hub.repos.models import Content, Repo
from tests.recordings import make_recording

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
REPO = "alice/tides"
SIZE = 3_072_000  # bytes of the large file: more than two pieces of a stream


@pytest.fixture
def weights() -> bytes:
    """New bytes for each test: the client remembers which chunks this address has seen."""
    return make_recording(SIZE)


@pytest.fixture
def client(client_of, alice, weights):
    client = client_of(alice)
    client.create_repo(REPO)
    files = {"README.md": b"---\nlicense: mit\n---\n# Tides\n", "data/a.csv": b"t,h\n1,2\n", "data/deep/b.txt": b"b\n"}
    operations = [CommitOperationAdd(path, data) for path, data in files.items()]
    client.create_commit(REPO, operations, commit_message="Text")
    client.upload_file(path_or_fileobj=weights, path_in_repo="weights.bin", repo_id=REPO, commit_message="Weights")
    return client


def get(hub_url, path, person=None, **headers):
    if person:
        headers["Authorization"] = f"Bearer {person.token}"
    return requests.get(f"{hub_url}/{REPO}/resolve/main/{path}", headers=headers, timeout=20)


def test_the_tree_is_listed_by_folder_and_as_a_whole(client, weights):
    top = {entry.path: entry for entry in client.list_repo_tree(REPO)}
    assert sorted(top) == [".gitattributes", "README.md", "data", "weights.bin"]
    assert (top["weights.bin"].size, top["weights.bin"].lfs.size) == (SIZE, SIZE)
    assert top["weights.bin"].lfs.sha256 == hashlib.sha256(weights).hexdigest()
    assert len(top["weights.bin"].xet_hash) == 64
    assert [entry.path for entry in client.list_repo_tree(REPO, "data")] == ["data/a.csv", "data/deep"]
    assert sorted(client.list_repo_files(REPO)) == [
        ".gitattributes", "README.md", "data/a.csv", "data/deep/b.txt", "weights.bin",
    ]  # fmt: skip
    with pytest.raises(EntryNotFoundError):
        list(client.list_repo_tree(REPO, "nowhere"))


@pytest.mark.covers("HfApi.list_repo_tree")
def test_the_tree_says_which_commit_touched_each_path_last(client):
    entries = {entry.path: entry for entry in client.list_repo_tree(REPO, recursive=True, expand=True)}
    titles = {path: entry.last_commit.title for path, entry in entries.items()}
    assert titles["weights.bin"] == "Weights"
    assert titles["README.md"] == titles["data"] == titles["data/a.csv"] == "Text"
    assert entries["weights.bin"].security.safe is True


@pytest.mark.covers("HfApi.delete_folder", "CommitOperationAdd")
def test_a_long_tree_comes_in_pages_of_one_commit(client, monkeypatch):
    from hub.api.hf import tree

    operations = [CommitOperationAdd(f"many/{number:03}.txt", b"x") for number in range(25)]
    client.create_commit(REPO, operations, commit_message="Many")
    monkeypatch.setattr(tree, "PAGE", 10)
    pages = client.list_repo_tree(REPO, "many")
    first = next(iter(pages)).path
    client.delete_folder("many", REPO)  # between two pages
    assert [first, *(entry.path for entry in pages)] == [f"many/{number:03}.txt" for number in range(25)]


@pytest.mark.covers("HfApi.get_paths_info")
def test_single_paths_are_told_and_missing_ones_left_out(client):
    found = client.get_paths_info(REPO, ["README.md", "data", "nothing.txt"], expand=True)
    assert [(entry.path, type(entry).__name__) for entry in found] == [
        ("README.md", "RepoFile"),
        ("data", "RepoFolder"),
    ]
    assert found[0].last_commit.title == "Text"


@pytest.mark.covers("HfApi.hf_hub_download")
def test_a_small_and_a_large_file_come_back_whole(client, weights):
    with open(client.hf_hub_download(REPO, "data/a.csv")) as file:
        assert file.read() == "t,h\n1,2\n"
    with open(client.hf_hub_download(REPO, "weights.bin"), "rb") as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(weights).digest()


@pytest.mark.covers("HfApi.snapshot_download")
def test_a_snapshot_holds_every_file(client, tmp_path, without_xet, weights):
    folder = client.snapshot_download(REPO, local_dir=tmp_path / "snapshot")
    found = sorted(str(path.relative_to(folder)) for path in (tmp_path / "snapshot").rglob("*") if path.is_file())
    assert [name for name in found if not name.startswith(".cache")] == sorted(client.list_repo_files(REPO))
    assert (tmp_path / "snapshot" / "weights.bin").read_bytes() == weights


@pytest.mark.covers("HfApi.repo_info")
def test_head_and_tree_agree_on_what_a_file_is(client, hub_url):
    sha = client.repo_info(REPO).sha
    for entry in client.list_repo_tree(REPO, recursive=True):
        if type(entry).__name__ == "RepoFolder":
            continue
        head = requests.head(f"{hub_url}/{REPO}/resolve/main/{entry.path}", timeout=10)
        identity = entry.lfs.sha256 if entry.lfs else entry.blob_id
        assert head.status_code == 200
        assert head.headers["ETag"].strip('"') == head.headers["X-Linked-Etag"].strip('"') == identity
        assert head.headers["X-Repo-Commit"] == sha
        assert int(head.headers["Content-Length"]) == int(head.headers["X-Linked-Size"]) == entry.size
        assert head.headers["X-Request-Id"]
        assert ("X-Xet-Hash" in head.headers) == (entry.lfs is not None)


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=1000000-2500000", 1_000_000, 2_500_001),
        ("bytes=3071990-", 3_071_990, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        ("bytes=10-99999999999", 10, SIZE),
    ],
)
def test_a_range_of_bytes_is_answered_exactly(client, hub_url, asked, start, end, weights):
    answer = get(hub_url, "weights.bin", Range=asked)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.content == weights[start:end]


def test_a_range_beyond_the_file_is_416_and_a_strange_one_is_the_file(client, hub_url, weights):
    beyond = get(hub_url, "weights.bin", Range=f"bytes={SIZE}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    assert get(hub_url, "data/a.csv", Range="lines=1-2").content == b"t,h\n1,2\n"
    sha256 = hashlib.sha256(weights).hexdigest()
    assert get(hub_url, "weights.bin", Range="bytes=0-3", **{"If-Range": f'"{sha256}"'}).status_code == 206
    assert get(hub_url, "weights.bin", Range="bytes=0-3", **{"If-Range": '"older"'}).status_code == 200


def test_what_the_reader_has_is_not_sent_again(client, hub_url):
    identity = get(hub_url, "data/a.csv").headers["ETag"]
    answer = get(hub_url, "data/a.csv", **{"If-None-Match": identity})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.covers("HfApi.file_exists")
def test_a_missing_file_names_the_commit_so_that_the_client_remembers(client, hub_url):
    answer = get(hub_url, "nothing.txt")
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert re.fullmatch("[0-9a-f]{40}", answer.headers["X-Repo-Commit"])
    assert client.file_exists(REPO, "nothing.txt") is False
    with pytest.raises(RevisionNotFoundError):
        client.hf_hub_download(REPO, "README.md", revision="nowhere")


def test_nothing_that_somebody_uploaded_runs_on_our_address(client, hub_url):
    client.upload_file(path_or_fileobj=b"<script>alert(1)</script>", path_in_repo="page.html", repo_id=REPO)
    answer = get(hub_url, "page.html")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_names_with_odd_letters_come_through(client):
    for path in ("data/ébauche 1.txt", "data/100%.txt", "data/a+b&c=d.txt", "data/#1?.txt"):
        client.upload_file(path_or_fileobj=path.encode(), path_in_repo=path, repo_id=REPO)
        with open(client.hf_hub_download(REPO, path), encoding="utf-8") as file:
            assert file.read() == path
    assert [entry.path for entry in client.list_repo_tree(REPO, "data") if "é" in entry.path] == ["data/ébauche 1.txt"]


def test_a_branch_with_a_slash_is_told_from_a_folder(client):
    client.create_branch(REPO, branch="data/try")
    client.upload_file(path_or_fileobj=b"on the branch", path_in_repo="deep/new.txt", repo_id=REPO, revision="data/try")
    assert [entry.path for entry in client.list_repo_tree(REPO, "deep", revision="data/try")] == ["deep/new.txt"]
    assert client.file_exists(REPO, "deep/new.txt", revision="data/try") is True
    assert client.file_exists(REPO, "deep/new.txt") is False
    assert client.get_paths_info(REPO, ["deep/new.txt"], revision="data/try")[0].size == 13


def test_the_file_system_of_the_client_reads(client, hub_url, alice, weights):
    files = HfFileSystem(endpoint=hub_url, token=alice.token)
    assert sorted(files.ls(REPO, detail=False)) == [
        f"{REPO}/{name}" for name in (".gitattributes", "README.md", "data", "weights.bin")
    ]
    assert files.info(f"{REPO}/data/a.csv")["size"] == 8
    with files.open(f"{REPO}/weights.bin", block_size=64 * 1024) as file:
        file.seek(1_500_000)
        assert file.read(10) == weights[1_500_000:1_500_010]


def test_raw_shows_what_git_holds(client, hub_url):
    pointer = requests.get(f"{hub_url}/{REPO}/raw/main/weights.bin", timeout=10).text
    assert pointer.startswith("version https://git-lfs") and f"size {SIZE}" in pointer
    assert requests.get(f"{hub_url}/{REPO}/raw/main/data/a.csv", timeout=10).text == "t,h\n1,2\n"


def test_a_download_counts_once_an_hour(client, hub_url):
    for _ in range(3):
        get(hub_url, "data/a.csv")
    assert Repo.objects.get(name="tides").downloads == 1


def test_what_is_withheld_is_refused_to_strangers_and_read_by_members(
    client, client_of, charlie, hub_url, alice, weights
):
    sha256 = hashlib.sha256(weights).hexdigest()
    content = Content.objects.get(digest=f"sha256:{sha256}")
    set_clearance(contents=[content], clearance="withheld", reason="It is a pickle.")
    refused = get(hub_url, "weights.bin", charlie)
    assert (refused.status_code, refused.headers["X-Error-Code"]) == (403, "ContentWithheld")
    assert "It is a pickle" in refused.json()["error"]
    assert re.fullmatch("[0-9a-f]{40}", refused.headers["X-Repo-Commit"])
    assert "X-Xet-Hash" not in refused.headers
    assert get(hub_url, "weights.bin", alice).content == weights
    safety = {
        entry.path: entry.security for entry in client.list_repo_tree(REPO, expand=True) if hasattr(entry, "security")
    }
    assert (safety["weights.bin"].status, safety["README.md"].status) == ("unsafe", "safe")


def test_a_stranger_can_take_a_snapshot_of_what_is_cleared(client, client_of, charlie, tmp_path, weights):
    content = Content.objects.get(digest=f"sha256:{hashlib.sha256(weights).hexdigest()}")
    set_clearance(contents=[content], clearance="withheld", reason="It is a pickle.")
    stranger = client_of(charlie)
    assert "weights.bin" not in stranger.list_repo_files(REPO)
    assert "weights.bin" not in {entry.path for entry in stranger.list_repo_tree(REPO, expand=True)}
    assert "weights.bin" not in [file.rfilename for file in stranger.repo_info(REPO, files_metadata=True).siblings]
    stranger.snapshot_download(REPO, local_dir=tmp_path / "snapshot")
    assert (tmp_path / "snapshot" / "README.md").exists()
    with pytest.raises(LocalEntryNotFoundError) as refusal:
        stranger.hf_hub_download(REPO, "weights.bin")
    assert "403 Forbidden: weights.bin in alice/tides is withheld: It is a pickle" in str(refusal.value.__cause__)


def test_pending_text_is_missing_for_strangers_by_any_name(client, client_of, charlie):
    from hub.repos.events import revision_created

    waiting = [receiver for receiver in revision_created.receivers]
    revision_created.receivers = []
    revision_created.sender_receivers_cache.clear()
    try:
        made = client.upload_file(path_or_fileobj=b"secret", path_in_repo="secret.txt", repo_id=REPO)
    finally:
        revision_created.receivers = waiting
        revision_created.sender_receivers_cache.clear()
    stranger = client_of(charlie)
    assert client.file_exists(REPO, "secret.txt") is True
    assert stranger.file_exists(REPO, "secret.txt") is False
    assert stranger.repo_info(REPO).sha != made.oid
    for attempt in (stranger.list_repo_files, stranger.repo_info):
        with pytest.raises(RevisionNotFoundError):
            attempt(REPO, revision=made.oid)
    with pytest.raises(RevisionNotFoundError):
        stranger.hf_hub_download(REPO, "secret.txt", revision=made.oid)
