"""An upload that is cut in the middle leaves nothing half-visible, and who still listens hears one clear sentence.

Our server reports a cut body as a complete one, so each door is tried with cuts where a careless reader would be
content: between two lines, between two records, at the very end."""

import gzip
import json
import random
import time
from pathlib import Path

import pytest

from tests.clients.cut_requests import send_cut, snapshot
from tests.clients.hidden_garden import large_line
from tests.clients.running_hub import RunningHub, git, remote
from tests.hub.storage.conftest import ClientUpload
from tests.recordings import make_recording

SENTENCE = b"arrived"  # "... before the whole body had arrived; send it again."


@pytest.fixture
def name(new_repo) -> str:
    return new_repo("cut").partition("/")[2]


def settle(hub: RunningHub, name: str, before: dict) -> None:
    """A rude sender is noticed a moment later; then everything is as before."""
    deadline = time.monotonic() + 10
    while list((hub.data_dir / "store" / "incoming").glob("*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    assert not list((hub.data_dir / "store" / "incoming").glob("*"))
    assert snapshot(hub, name) == before


def commit_body(count: int = 4) -> bytes:
    lines = [{"key": "header", "value": {"summary": "Four files"}}]
    for number in range(count):
        value = {"path": f"{number}.txt", "content": f"text {number}\n" * 2000, "encoding": "utf-8"}
        lines.append({"key": "file", "value": value})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@pytest.mark.parametrize("where", ["after a line", "within a line", "before the last newline", "after the header"])
@pytest.mark.parametrize("query", ["", "?create_pr=1"])
def test_a_cut_commit_is_no_commit(granian_server: RunningHub, name: str, where: str, query: str):
    body = commit_body()
    ends = [at + 1 for at, byte in enumerate(body) if byte == 10]
    keep = {
        "after a line": ends[2], "within a line": ends[2] + 300, "before the last newline": len(body) - 1,
        "after the header": ends[0],
    }[where]  # fmt: skip
    before = snapshot(granian_server, name)
    path = f"/api/datasets/alice/{name}/commit/main{query}"
    status, answer = send_cut(granian_server, path, body, keep=keep)
    assert status == 400 and SENTENCE in answer
    send_cut(granian_server, path, body, keep=keep, is_rude=True)
    settle(granian_server, name, before)


def test_a_commit_of_unknown_length_is_refused(granian_server: RunningHub, name: str):
    body = commit_body()
    before = snapshot(granian_server, name)
    path = f"/api/datasets/alice/{name}/commit/main"
    status, answer = send_cut(granian_server, path, body, keep=body.index(b"\n") + 1, is_chunked=True)
    assert status == 411 and b"Content-Length" in answer
    assert snapshot(granian_server, name) == before


@pytest.fixture
def upload() -> ClientUpload:
    return ClientUpload(make_recording(2_000_000))


def store_headers(hub: RunningHub, name: str) -> dict[str, str]:
    answer = hub.call("GET", f"/api/datasets/alice/{name}/xet-write-token/main", person="alice")
    return {"Authorization": f"Bearer {answer.json()['accessToken']}"}


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_cut_xorb_is_not_kept(
    granian_server: RunningHub, name: str, upload: ClientUpload, share: float, is_chunked: bool
):
    before = snapshot(granian_server, name)
    headers = store_headers(granian_server, name)
    path = f"/xet/v1/xorbs/default/{upload.xorb_hash}"
    keep = int(len(upload.xorb) * share)
    status, _ = send_cut(granian_server, path, upload.xorb, keep=keep, headers=headers, is_chunked=is_chunked)
    assert status == 400
    send_cut(granian_server, path, upload.xorb, keep=keep, headers=headers, is_chunked=is_chunked, is_rude=True)
    settle(granian_server, name, before)


def test_a_xorb_cut_between_two_chunks_is_not_kept(granian_server: RunningHub, name: str, upload: ClientUpload):
    first = 8 + int.from_bytes(upload.xorb[1:4], "little")
    before = snapshot(granian_server, name)
    headers = store_headers(granian_server, name)
    path = f"/xet/v1/xorbs/default/{upload.xorb_hash}"
    status, answer = send_cut(granian_server, path, upload.xorb, keep=first, headers=headers, is_chunked=True)
    assert status == 400 and b"as announced" in answer
    settle(granian_server, name, before)


@pytest.mark.parametrize("keep", [0, 48, 96, -48, -1])
def test_a_cut_shard_registers_no_file(granian_server: RunningHub, name: str, upload: ClientUpload, keep: int):
    headers = store_headers(granian_server, name)
    path = f"/xet/v1/xorbs/default/{upload.xorb_hash}"
    assert granian_server.call("POST", path, data=upload.xorb, headers=headers).status_code == 200
    before = snapshot(granian_server, name)
    keep = keep if keep >= 0 else len(upload.shard) + keep
    for is_chunked in (False, True):
        status, _ = send_cut(
            granian_server, "/xet/v1/shards", upload.shard, keep=keep, headers=headers, is_chunked=is_chunked
        )
        assert status == 400
    settle(granian_server, name, before)
    assert granian_server.call("POST", "/xet/v1/shards", data=upload.shard, headers=headers).status_code == 200


def test_a_cut_lfs_object_can_be_sent_again(granian_server: RunningHub, name: str):
    data = make_recording(3_000_000)
    value = large_line("a.bin", data)["value"]
    batch = {"operation": "upload", "objects": [{"oid": value["oid"], "size": len(data)}]}
    offer = granian_server.call(
        "POST", f"/datasets/alice/{name}.git/info/lfs/objects/batch", person="alice", json=batch
    )
    address = offer.json()["objects"][0]["actions"]["upload"]["href"]
    path = address.removeprefix(granian_server.url)
    before = snapshot(granian_server, name)
    for keep in (0, 1_048_576, len(data) - 1):
        for is_chunked in (False, True):
            status, answer = send_cut(
                granian_server, path, data, method="PUT", keep=keep, person=None, is_chunked=is_chunked
            )
            assert status == 400 and b"again" in answer
        send_cut(granian_server, path, data, method="PUT", keep=keep, person=None, is_rude=True)
    settle(granian_server, name, before)
    assert granian_server.call("PUT", address, data=data).status_code == 200
    done = granian_server.commit(f"/api/datasets/alice/{name}/commit/main", large_line("a.bin", data))
    assert done.status_code == 200


def make_push(hub: RunningHub, name: str, folder: Path) -> bytes:
    """The body of a push of one commit to main."""
    git("clone", "-q", remote(hub, f"/datasets/alice/{name}"), str(folder))
    old = git("rev-parse", "HEAD", cwd=folder).stdout.strip()
    for number in range(20):
        (folder / f"{number}.txt").write_text(f"{random.random()}\n" * 3000)
    git("add", ".", cwd=folder)
    git("commit", "-qm", "Much text", cwd=folder)
    new = git("rev-parse", "HEAD", cwd=folder).stdout.strip()
    (folder / "wanted").write_text(f"{new}\n^{old}\n")
    command = f"git pack-objects --revs --stdout -q < wanted > {folder}/pack"
    git("-c", f"alias.pack=!{command}", "pack", cwd=folder)
    line = f"{old} {new} refs/heads/main\0report-status".encode()
    return b"%04x%s0000" % (len(line) + 4, line) + (folder / "pack").read_bytes()


@pytest.mark.parametrize("how", ["plain", "chunked", "gzip"])
def test_a_cut_push_moves_nothing(granian_server: RunningHub, name: str, tmp_path: Path, how: str):
    body = make_push(granian_server, name, tmp_path / "clone")
    headers = {"Content-Type": "application/x-git-receive-pack-request"}
    if how == "gzip":
        body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
    path = f"/datasets/alice/{name}.git/git-receive-pack"
    before = snapshot(granian_server, name)
    first_line = int(body[:4], 16) + 4 if how != "gzip" else 100
    for keep in (2, first_line, first_line + 12, len(body) // 2, len(body) - 1):
        _, answer = send_cut(granian_server, path, body, keep=keep, headers=headers, is_chunked=how != "plain")
        assert b"ok refs/heads/main" not in answer
        assert snapshot(granian_server, name) == before
    send_cut(granian_server, path, body, keep=len(body) // 2, headers=headers, is_rude=True)
    settle(granian_server, name, before)
    incoming = granian_server.git_folder(name) / "incoming"
    assert not incoming.exists() or not list(incoming.iterdir())
    whole = granian_server.call("POST", path, person="alice", data=body, headers=headers)
    assert b"ok refs/heads/main" in whole.content


def test_a_cut_part_of_a_browser_upload_does_not_come_to_be(granian_server: RunningHub, name: str):
    data = make_recording(500_000)
    page = f"/datasets/alice/{name}/upload"
    about = {"path": "noise.bin", "size": len(data), "modified": "1"}
    query = "&".join(f"{key}={value}" for key, value in about.items())
    before = snapshot(granian_server, name)
    status, answer = send_cut(granian_server, f"{page}/parts/1?{query}", data, method="PUT", keep=300_000)
    assert status == 400 and b"again" in answer
    send_cut(granian_server, f"{page}/parts/1?{query}", data, method="PUT", keep=300_000, is_rude=True)
    settle(granian_server, name, before)
    started = granian_server.call("POST", f"{page}/start", person="alice", json=about)
    assert started.json()["have"] == []
    assert granian_server.call("PUT", f"{page}/parts/1?{query}", person="alice", data=data).status_code == 200
    assert granian_server.call("POST", f"{page}/start", person="alice", json=about).json()["have"] == [1]


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_form_of_a_browser_commits_nothing(granian_server: RunningHub, name: str, share: float):
    fields = {"title": "By form", "goes_to": "branch"}
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
    ]
    text = "a line of text\n" * 20_000
    head = '--limit\r\nContent-Disposition: form-data; name="files"; filename="long.txt"\r\n\r\n'
    body = ("".join(parts) + head + text + "\r\n--limit--\r\n").encode()
    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    path = f"/datasets/alice/{name}/upload"
    before = snapshot(granian_server, name)
    status, _ = send_cut(granian_server, path, body, keep=int(len(body) * share), headers=headers)
    assert status == 400
    send_cut(granian_server, path, body, keep=int(len(body) * share), headers=headers, is_rude=True)
    settle(granian_server, name, before)
    whole = granian_server.call("POST", path, person="alice", data=body, headers=headers)
    assert whole.status_code == 302, whole.text
    assert granian_server.call("GET", f"/datasets/alice/{name}/raw/main/long.txt").text == text


def test_half_a_comment_is_not_published(granian_server: RunningHub, name: str):
    body = ("title=About+the+clock&text=" + "word+" * 2000).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    path = f"/datasets/alice/{name}/discussions/new"
    before = snapshot(granian_server, name)
    status, answer = send_cut(granian_server, path, body, keep=len(body) // 2, headers=headers)
    assert status == 400 and SENTENCE in answer
    send_cut(granian_server, path, body, keep=len(body) // 2, headers=headers, is_rude=True)
    settle(granian_server, name, before)
    assert granian_server.call("POST", path, person="alice", data=body, headers=headers).status_code == 302
