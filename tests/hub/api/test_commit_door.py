"""Writing files with the stock client: small ones inline, branches, races, refusals."""

import threading

import pytest
from django.test import Client
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]
REPO = "alice/poems"


@pytest.fixture
def client(client_of, alice):
    client = client_of(alice)
    client.create_repo(REPO)
    return client


def add(path: str, text: str = "text\n") -> CommitOperationAdd:
    return CommitOperationAdd(path, text.encode())


def read(client, path: str, **more) -> str:
    with open(client.hf_hub_download(REPO, path, **more)) as file:
        return file.read()


@pytest.mark.covers("HfApi.upload_file")
def test_a_small_file_is_uploaded_and_comes_back(client, hub_url):
    made = client.upload_file(
        path_or_fileobj=b"The sea\n", path_in_repo="a/tide.txt", repo_id=REPO, commit_message="Add tide"
    )
    assert made.commit_url == f"{hub_url}/{REPO}/commit/{made.oid}"
    assert client.repo_info(REPO).sha == made.oid
    assert read(client, "a/tide.txt") == "The sea\n"
    newest = client.list_repo_commits(REPO)[0]
    assert (newest.commit_id, newest.title, newest.authors) == (made.oid, "Add tide", ["alice"])


@pytest.mark.covers("HfApi.create_commit", "CommitOperationCopy", "CommitOperationDelete")
def test_one_commit_adds_deletes_and_copies(client):
    client.create_commit(
        REPO, [add("a.txt", "A"), add("b.txt", "B"), add("old/c.txt"), add("old/d.txt")], commit_message="First"
    )
    client.create_commit(
        REPO,
        [
            add("a.txt", "A2"),
            CommitOperationDelete("b.txt"),
            CommitOperationDelete("old/", is_folder=True),
            CommitOperationCopy("a.txt", "copy/a.txt"),
        ],
        commit_message="Second",
        commit_description="A longer word about it.",
    )
    assert sorted(client.list_repo_files(REPO)) == [".gitattributes", "a.txt", "copy/a.txt"]
    assert (read(client, "a.txt"), read(client, "copy/a.txt")) == ("A2", "A")
    assert client.list_repo_commits(REPO)[0].message == "A longer word about it."


def test_a_stale_stated_parent_is_refused_with_412(client):
    first = client.create_commit(REPO, [add("a.txt")], commit_message="First")
    client.create_commit(REPO, [add("b.txt")], commit_message="Second", parent_commit=first.oid)
    with pytest.raises(HfHubHTTPError) as refusal:
        client.create_commit(REPO, [add("c.txt")], commit_message="Third", parent_commit=first.oid)
    assert refusal.value.response.status_code == 412
    assert "has moved" in refusal.value.response.json()["error"]
    assert "c.txt" not in client.list_repo_files(REPO)


def test_commits_that_race_all_arrive(client):
    problems = []

    def commit(number: int) -> None:
        try:
            client.create_commit(REPO, [add(f"file-{number}.txt")], commit_message=f"Add {number}")
        except Exception as problem:
            problems.append(problem)

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(client.list_repo_files(REPO)) >= {f"file-{number}.txt" for number in range(6)}
    assert len(client.list_repo_commits(REPO)) == 7


@pytest.mark.covers("HfApi.delete_file")
def test_a_file_is_deleted_and_a_missing_one_told_by_name(client):
    client.create_commit(REPO, [add("a.txt"), add("b.txt")], commit_message="Two")
    client.delete_file("a.txt", REPO)
    assert client.list_repo_files(REPO) == [".gitattributes", "b.txt"]
    with pytest.raises(RemoteEntryNotFoundError, match="A file with this name doesn't exist"):
        client.delete_file("nothing.txt", REPO)


def test_a_commit_to_an_unknown_branch_or_repository_is_refused(client):
    with pytest.raises(RevisionNotFoundError):
        client.create_commit(REPO, [add("a.txt")], commit_message="Lost", revision="nowhere")
    with pytest.raises(RepositoryNotFoundError):
        client.create_commit("alice/nothing", [add("a.txt")], commit_message="Lost")


@pytest.mark.parametrize("path", ["a/.git/config", "nul\x00l.txt", "a\\b.txt", "a//b.txt"])
def test_paths_that_no_disk_should_hold_are_refused(client, hub_url, alice, path):
    answer = post_lines(hub_url, alice, {"key": "file", "value": {"path": path, "content": ""}})
    assert answer.status_code == 400
    assert "Path" in answer.json()["error"]


def test_a_stranger_cannot_commit_to_main(client, client_of, charlie):
    with pytest.raises(HfHubHTTPError) as refusal:
        client_of(charlie).create_commit(REPO, [add("a.txt")], commit_message="Mine")
    assert refusal.value.response.status_code == 403


def test_the_name_of_a_repository_is_found_in_any_case(client):
    client.create_commit("ALICE/Poems", [add("a.txt")], commit_message="Loud")
    assert "a.txt" in client.list_repo_files("alice/poems")


@pytest.mark.covers("HfApi.upload_folder")
def test_unchanged_files_are_not_committed_again(client, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("same")
    first = client.upload_folder(repo_id=REPO, folder_path=folder)
    again = client.upload_folder(repo_id=REPO, folder_path=folder)
    assert again.oid == first.oid


def test_files_named_in_gitignore_stay_out(client):
    client.upload_file(path_or_fileobj=b"*.log\nbuild/\n!keep.log\n", path_in_repo=".gitignore", repo_id=REPO)
    client.create_commit(
        REPO, [add("run.log"), add("keep.log"), add("build/x.txt"), add("src/x.txt")], commit_message="All"
    )
    assert sorted(client.list_repo_files(REPO)) == [".gitattributes", ".gitignore", "keep.log", "src/x.txt"]


def test_an_inline_file_that_is_binary_becomes_a_large_file(client, hub_url, alice):
    value = {"path": "noise.bin", "content": "AAECA//+", "encoding": "base64"}
    assert post_lines(hub_url, alice, {"key": "file", "value": value}).status_code == 200
    (entry,) = client.get_paths_info(REPO, ["noise.bin"])
    assert (entry.size, entry.lfs.size) == (6, 6)
    with open(client.hf_hub_download(REPO, "noise.bin"), "rb") as file:
        assert file.read() == bytes([0, 1, 2, 3, 255, 254])


def test_a_large_file_that_nobody_uploaded_cannot_be_committed(client, hub_url, alice):
    value = {"path": "model.safetensors", "algo": "sha256", "oid": "0" * 64, "size": 5}
    answer = post_lines(hub_url, alice, {"key": "lfsFile", "value": value})
    assert answer.status_code == 400
    assert "upload it first" in answer.json()["error"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"", "no header"),
        (b"not json\n", "Line 1 of the commit is not JSON"),
        (b'{"key":"header","value":{"summary":""}}\n', "needs a 'summary'"),
        (b'{"key":"header","value":{"summary":"x"}}\n{"key":"fly","value":{"path":"a"}}\n', "Line 2 asks for 'fly'"),
        (
            b'{"key":"header","value":{"summary":"x"}}\n{"key":"file","value":{"path":"a","content":"%%"}}\n',
            "not base64",
        ),
        (b'{"key":"header","value":{"summary":"x"}}\n{"key":"file","val', "was the upload cut off"),
    ],
)
def test_a_broken_commit_body_is_refused_with_its_line(client, hub_url, alice, lines, sentence):
    answer = post_body(hub_url, alice, lines)
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    assert len(client.list_repo_commits(REPO)) == 1


def test_a_file_beyond_the_inline_limit_is_refused(client, hub_url, alice, settings):
    settings.MAX_REGULAR_FILE_BYTES = 1000
    value = {"path": "long.txt", "content": "QUFB" * 40_000}
    answer = post_lines(hub_url, alice, {"key": "file", "value": value})
    assert answer.status_code == 413
    assert "large file" in answer.json()["error"]


def post_lines(hub_url, person, *lines):
    import json

    header = {"key": "header", "value": {"summary": "By hand"}}
    return post_body(hub_url, person, b"".join(json.dumps(line).encode() + b"\n" for line in (header, *lines)))


def post_body(hub_url, person, body: bytes):
    import requests

    headers = {"Authorization": f"Bearer {person.token}", "Content-Type": "application/x-ndjson"}
    return requests.post(f"{hub_url}/api/models/{REPO}/commit/main", data=body, headers=headers, timeout=20)


def post(address, person, body):
    headers = {"Authorization": f"Bearer {person.token}"}
    return Client(headers=headers).post(address, body, content_type="application/json")


def test_a_path_that_no_tree_holds_is_refused_before_it_is_judged(client, alice):
    """A path of 20,000 folders took seconds, and nothing could ever lie there."""
    body = {"files": [{"path": "a/" * 20_000 + "b", "size": 1, "sample": ""}], "gitIgnore": "x/y/z\n"}
    answer = post(f"/api/models/{REPO}/preupload/main", alice, body)
    assert answer.status_code == 400 and "longer than 1024 bytes" in answer.json()["error"]


def test_a_pull_request_number_of_5000_digits_is_not_there(client, alice):
    header = {"key": "header", "value": {"summary": "x"}}
    assert post(f"/api/models/{REPO}/commit/refs/pr/{'9' * 5000}", alice, header).status_code == 404
