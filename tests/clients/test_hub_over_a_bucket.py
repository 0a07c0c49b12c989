"""A hub whose large files lie in a bucket of a real S3 server: every door, restarts, an outage, a kill."""

import base64
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.storage.bucket import Bucket, parse_store_url
from tests.clients.counting_proxy import count_bytes
from tests.clients.running_hub import RunningHub, git, remote
from tests.clients.stock_client import Machine, digests, make_folder, overwrite
from tests.hub.api.xet_upload import XetFile
from tests.object_storage import CREDENTIALS, ObjectStorage
from tests.recordings import make_recording

pytestmark = pytest.mark.slow
MB = 1_000_000


@pytest.fixture
def hub(object_storage: ObjectStorage, empty_data: Path, tmp_path: Path) -> Iterator[RunningHub]:
    shutil.copytree(empty_data, tmp_path / "data")
    hub = RunningHub(tmp_path / "data", STORE_URL=object_storage.store_url(tmp_path.name), **CREDENTIALS)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def bucket_of(hub: RunningHub) -> Bucket:
    """What lies in the storage, seen past the hub."""
    return Bucket(parse_store_url(hub.settings["STORE_URL"]))


def make_repo(hub: RunningHub, name: str) -> str:
    answer = hub.call("POST", "/api/repos/create", person="alice", json={"name": name, "type": "dataset"})
    assert answer.status_code == 200, answer.text
    return f"alice/{name}"


def commit_inline(hub: RunningHub, name: str, path: str, content: bytes):
    value = {"path": path, "encoding": "base64", "content": base64.b64encode(content).decode()}
    return hub.commit(f"/api/datasets/{name}/commit/main", {"key": "file", "value": value})


def download_all_ways(hub: RunningHub, name: str, folder: Path) -> list[dict[str, str]]:
    """Digests of what Xet, plain HTTP and git with LFS bring."""
    download = ("download", name, "--repo-type", "dataset", "--local-dir")
    Machine(folder / "a", hub.url).hf(*download, str(folder / "by-xet"))
    Machine(folder / "b", hub.url, HF_HUB_DISABLE_XET="1").hf(*download, str(folder / "by-http"))
    git("clone", "-q", remote(hub, f"/datasets/{name}"), str(folder / "by-git"), with_lfs=True)
    return [digests(folder / way) for way in ("by-xet", "by-http", "by-git")]


def test_every_door_leads_to_the_bucket_and_back(hub: RunningHub, tmp_path: Path):
    name = make_repo(hub, "tides")
    folder = make_folder(tmp_path / "made", size_bytes=24 * MB, seed=1)
    upload = ("upload", name, str(folder), "--repo-type", "dataset")
    Machine(tmp_path / "first", hub.url, "alice").hf(*upload)  # Xet
    bucket = bucket_of(hub)

    def stored_bytes() -> int:
        return sum(found.size for found in bucket.list("xorbs/"))

    first = stored_bytes()
    assert 24 * MB <= first < 25 * MB
    assert not any((hub.data_dir / "store" / kind).exists() for kind in ("xorbs", "files", "sha256"))

    # What is known is neither sent nor stored again, whichever door it comes through.
    overwrite(folder / "part-1.bin", at=4 * MB, count=20_000, seed=2)
    with count_bytes(hub.port) as proxy:
        Machine(tmp_path / "second", proxy.url, "alice").hf(*upload)
    assert proxy.sent < 1.5 * MB and stored_bytes() - first < 1 * MB
    (folder / "again.bin").write_bytes((folder / "part-2.bin").read_bytes() + b"the end")
    (folder / "plain.bin").write_bytes(make_recording(3 * MB, random.Random(3)))
    Machine(tmp_path / "third", hub.url, "alice", HF_HUB_DISABLE_XET="1").hf(*upload)  # LFS
    assert stored_bytes() - first < 5 * MB
    inline = make_recording(200_000, random.Random(4))
    assert commit_inline(hub, name, "inline.bin", inline).ok
    (folder / "inline.bin").write_bytes(inline)

    assert download_all_ways(hub, name, tmp_path / "before") == [digests(folder)] * 3
    part = hub.call("GET", f"/datasets/{name}/resolve/main/plain.bin", headers={"Range": "bytes=1000000-1999999"})
    assert part.content == (folder / "plain.bin").read_bytes()[1_000_000:2_000_000]

    # The bucket is the truth: a machine that lost its own folder serves the same, and finds again what it knew.
    hub.stop()
    shutil.rmtree(hub.data_dir / "store")
    hub.start()
    assert download_all_ways(hub, name, tmp_path / "after") == [digests(folder)] * 3
    before = stored_bytes()
    (folder / "more.bin").write_bytes((folder / "part-0.bin").read_bytes() + b"the end")
    with count_bytes(hub.port) as proxy:
        Machine(tmp_path / "fourth", proxy.url, "alice").hf(*upload)
    assert proxy.sent < 1.5 * MB and stored_bytes() - before < 1 * MB


def test_while_the_storage_is_away_people_are_asked_to_come_again_and_nothing_is_lost(
    hub: RunningHub, object_storage: ObjectStorage, tmp_path: Path
):
    name = make_repo(hub, "outage")
    folder = make_folder(tmp_path / "made", size_bytes=6 * MB, seed=5)
    upload = ("upload", name, str(folder), "--repo-type", "dataset")
    Machine(tmp_path / "first", hub.url, "alice").hf(*upload)
    file = XetFile(make_recording(300_000, random.Random(6)))
    oid = {"oid": file.sha256, "size": len(file.content)}
    lfs = f"/datasets/{name}.git/info/lfs/objects/batch"
    offered = hub.call("POST", lfs, person="alice", json={"operation": "upload", "objects": [oid]}).json()
    put = offered["objects"][0]["actions"]["upload"]["href"]
    token = hub.call("GET", f"/api/datasets/{name}/xet-write-token/main", person="alice").json()["accessToken"]
    bearer = {"Authorization": f"Bearer {token}"}
    plain = f"/datasets/{name}/resolve/main/part-0.bin"
    object_storage.kill()
    try:
        refused = [
            hub.call("GET", plain),
            hub.call("PUT", put, data=file.content),
            hub.call("POST", f"/xet/v1/xorbs/default/{file.xorb_hash}", data=file.xorb, headers=bearer),
            hub.call("POST", "/xet/v1/shards", data=file.shard, headers=bearer),
            commit_inline(hub, name, "inline.bin", file.content),
        ]
        for answer in refused:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
            assert answer.json()["error"].startswith("The storage of large files does not answer")
        # What needs no large file goes on: text, listings, the history.
        assert hub.call("GET", f"/datasets/{name}/resolve/main/README.md").ok
        assert hub.call("GET", f"/api/datasets/{name}/tree/main").ok
        # The stock client does not give up at once.
        (folder / "part-3.bin").write_bytes(make_recording(3 * MB, random.Random(7)))
        running = Machine(tmp_path / "second", hub.url, "alice").start(*upload)
        time.sleep(4)
    finally:
        object_storage.start()
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 0, output
    assert hub.call("PUT", put, data=file.content).ok
    assert commit_inline(hub, name, "inline.bin", file.content).ok
    (folder / "inline.bin").write_bytes(file.content)
    assert download_all_ways(hub, name, tmp_path / "after") == [digests(folder)] * 3


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_visible(hub: RunningHub, tmp_path: Path):
    name = make_repo(hub, "killed")
    folder = make_folder(tmp_path / "made", size_bytes=150 * MB, seed=8)
    upload = ("upload", name, str(folder), "--repo-type", "dataset")
    bucket = bucket_of(hub)
    running = Machine(tmp_path / "first", hub.url, "alice").start(*upload)
    deadline = time.monotonic() + 120
    while not list(bucket.list("xorbs/")):
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    hub.kill()
    running.kill()
    running.communicate()
    assert not list(bucket.list("sha256/"))
    hub.start()
    assert hub.call("GET", f"/datasets/{name}/resolve/main/part-0.bin").status_code == 404
    Machine(tmp_path / "second", hub.url, "alice").hf(*upload)
    assert sum(found.size for found in bucket.list("xorbs/")) < 155 * MB  # what had arrived was not stored twice
    Machine(tmp_path / "third", hub.url).hf(
        "download", name, "--repo-type", "dataset", "--local-dir", str(tmp_path / "d")
    )
    assert digests(tmp_path / "d") == digests(folder)
