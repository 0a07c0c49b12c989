"""The stock client (hf_xet, as huggingface_hub calls it) against a minimal server around the byte store.

Each client run is a process of its own with an empty Xet cache, so what it saves it can only have learnt from us."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hub.storage.blobs import BlobStore
from hub.storage.errors import InvalidRange, StorageError, UnknownContent
from hub.storage.xet.reconstruction import Parts, as_version_1

UPLOAD = """
import sys
from huggingface_hub import CommitOperationAdd
from huggingface_hub._commit_api import _upload_xet_files
endpoint, *paths = sys.argv[1:]
additions = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=path) for path in paths]
_upload_xet_files(additions=additions, repo_type="model", repo_id="alice/poems", headers={"authorization": "Bearer t"},
                  endpoint=endpoint, revision="main")
for addition in additions:
    print(addition.upload_info.sha256.hex())
"""
DOWNLOAD = """
import sys
from pathlib import Path
from huggingface_hub.file_download import xet_get
from huggingface_hub.utils._xet import XetFileData
endpoint, xet_hash, size, target = sys.argv[1:]
data = XetFileData(file_hash=xet_hash, refresh_route=endpoint + "/api/models/alice/poems/xet-read-token/main")
xet_get(incomplete_path=Path(target), xet_file_data=data, headers={}, expected_size=int(size))
"""
HASH = "import sys, hf_xet; [print(file.hash) for file in hf_xet.hash_files(sys.argv[1:])]"


class Server(ThreadingHTTPServer):
    """Answers token, xorbs, shards, reconstructions and chunks; counts what comes in and goes out by kind."""

    daemon_threads = True

    def __init__(self, store: BlobStore) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = store
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.received: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "api" and "token" in parts[-2]:
            self.send_token()
        elif parts[:3] == ["cas", "v1", "reconstructions"]:
            self.send_plan(parts[3])
        elif parts[:3] == ["cas", "v1", "chunks"]:
            self.server.calls["chunks"] += 1
            shard = self.server.store.dedup_shard(parts[4], may_tell=lambda xorb: True)
            self.answer(404 if shard is None else 200, shard or b"")
        elif parts[0] == "data":
            self.send_data(parts[1], *map(int, parts[2].split("-")))
        else:
            self.answer(404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.strip("/").split("/")
        try:
            if parts[:3] == ["cas", "v1", "xorbs"]:
                self.server.received["xorbs"] += len(body)
                self.answer_json({"was_inserted": self.server.store.add_xorb(parts[4], [body])})
            elif parts[:3] == ["cas", "v1", "shards"]:
                self.server.received["shards"] += len(body)
                self.server.store.add_shard(body, may_use=lambda xorb: True)
                self.answer_json({"result": 1})
            else:
                self.answer(404, b"")
        except StorageError as error:
            self.answer(400, str(error).encode())

    def send_token(self) -> None:
        token = {"accessToken": "t", "exp": int(time.time()) + 3600, "casUrl": f"{self.server.url}/cas"}
        headers = {
            "X-Xet-Cas-Url": token["casUrl"],
            "X-Xet-Access-Token": token["accessToken"],
            "X-Xet-Token-Expiration": str(token["exp"]),
        }
        self.answer_json(token, **headers)

    def send_plan(self, xet_hash: str) -> None:
        start, end = 0, None
        if wanted := self.headers.get("Range"):
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), int(last) + 1
        try:
            self.answer_json(as_version_1(self.server.store.plan(xet_hash, start, end), self.url_for))
        except InvalidRange:
            self.answer(416, b"")
        except UnknownContent:
            self.answer(404, b"")

    def send_data(self, xorb_hash: str, start: int, end: int) -> None:
        # The URL grants one range, as a signed one would.
        path = self.server.store.xorb_path(xorb_hash)
        if path is None or self.headers.get("Range") != f"bytes={start}-{end - 1}":
            self.answer(403, b"")
            return
        with open(path, "rb") as file:
            file.seek(start)
            self.answer(206, file.read(end - start))

    def url_for(self, xorb_hash: str, parts: Parts) -> str:
        ((start, end),) = parts
        return f"{self.server.url}/data/{xorb_hash}/{start}-{end}"

    def answer_json(self, content: object, **headers: str) -> None:
        self.answer(200, json.dumps(content).encode(), **headers)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    server = Server(BlobStore(tmp_path / "store"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(tmp_path):
    """Run a client script in a new process with empty caches; returns its lines."""
    runs = iter(range(1000))

    def run(script: str, *arguments: str) -> list[str]:
        home = tmp_path / f"client-{next(runs)}"
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        environment = {
            **kept,
            "HOME": str(home),
            "HF_HOME": str(home),
            "HF_XET_CACHE": str(home / "xet"),
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.split()

    return run


def make_bytes(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()


def make_files() -> dict[str, bytes]:
    part = make_bytes(6_000_000, seed=2)
    numbers = np.random.default_rng(3).normal(size=500_000).astype(np.float32).tobytes()
    return {
        "one-byte": b"x",
        "one-chunk": make_bytes(5000, seed=1),
        "random": make_bytes(5_000_000),
        "zeros": bytes(3_000_000),
        "repeated": part + make_bytes(4_000_000, seed=4) + part + numbers + make_bytes(2_000_000, seed=5),
    }


def write_files(folder: Path, files: dict[str, bytes]) -> list[str]:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [str(folder / name) for name in files]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_the_client_uploads_is_stored_and_downloads_equal(server, client, tmp_path):
    files = make_files()
    paths = write_files(tmp_path / "files", files)

    assert client(UPLOAD, server.url, *paths) == [digest(content) for content in files.values()]

    for name, content in files.items():
        stored = server.store.find(digest(content))
        assert stored is not None and stored.size == len(content)
        assert b"".join(server.store.read(stored.sha256)) == content
        target = tmp_path / f"{name}.downloaded"
        client(DOWNLOAD, server.url, stored.xet_hash, str(stored.size), str(target))
        assert target.read_bytes() == content
    # The repeated part and the zeros travelled once.
    assert server.received["xorbs"] < sum(map(len, files.values())) - 6_000_000


def test_a_file_that_came_through_another_door_has_the_clients_hash_and_downloads_equal(server, client, tmp_path):
    files = make_files()
    hashes = client(HASH, *write_files(tmp_path / "files", files))
    for (name, content), xet_hash in zip(files.items(), hashes, strict=True):
        stored = server.store.add([content])
        assert stored.xet_hash == xet_hash
        target = tmp_path / f"{name}.downloaded"
        client(DOWNLOAD, server.url, stored.xet_hash, str(stored.size), str(target))
        assert target.read_bytes() == content


@pytest.mark.parametrize("first_door", ["client", "server"])
def test_a_changed_file_sends_few_bytes_from_a_client_that_knows_nothing(server, client, tmp_path, first_door):
    original = make_bytes(20_000_000, seed=7)
    changed = original[:9_000_000] + b"a changed line" + original[9_000_100:] + b"an appended line"
    if first_door == "client":
        client(UPLOAD, server.url, *write_files(tmp_path / "first", {"data": original}))
        assert server.received["xorbs"] > 19_000_000
    else:
        server.store.add([original])
    server.received.clear()

    client(UPLOAD, server.url, *write_files(tmp_path / "second", {"data": changed}))

    assert server.calls["chunks"] > 0
    assert server.received["xorbs"] < 1_000_000
    assert b"".join(server.store.read(digest(changed))) == changed


def test_uploading_a_known_file_again_sends_no_data(server, client, tmp_path):
    content = make_bytes(5_000_000, seed=8)
    server.store.add([content])
    client(UPLOAD, server.url, *write_files(tmp_path / "files", {"data": content}))
    assert server.received["xorbs"] == 0
