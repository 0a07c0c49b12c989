"""The way of data in and out with the clients people have: `hf`, huggingface_hub with and without Xet, git with git-lfs.

Small in the fast suite; the slow one carries 300 MB."""

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.counting_proxy import count_bytes
from tests.clients.running_hub import RunningHub, git, remote
from tests.clients.stock_client import Machine, digests, make_folder, overwrite
from tests.hub.api.xet_upload import XetFile
from tests.recordings import make_recording

MB = 1_000_000


@dataclass(frozen=True)
class Size:
    total: int  # bytes of the folder
    change: int  # bytes written over in its middle


SIZES = [
    pytest.param(Size(12 * MB, 20_000), id="small"),
    pytest.param(Size(300 * MB, 1 * MB), id="300MB", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_goes_up_changes_little_and_comes_down_the_same(
    granian_server: RunningHub, new_repo, tmp_path: Path, size: Size
):
    name = new_repo("big")
    folder = make_folder(tmp_path / "data", size_bytes=size.total, seed=size.total)
    upload = ("upload", name, str(folder), "--repo-type", "dataset")
    Machine(tmp_path / "first", granian_server.url, "alice").hf(*upload, "--commit-message", "First")

    overwrite(folder / "part-1.bin", at=size.total // 6, count=size.change, seed=1)
    with count_bytes(granian_server.port) as proxy:
        # Another machine: what it does not send again, it has learnt from the hub.
        Machine(tmp_path / "second", proxy.url, "alice").hf(*upload, "--commit-message", "Second")
    assert size.change < proxy.sent < size.total * 0.05

    stranger = Machine(tmp_path / "stranger", granian_server.url)
    stranger.hf("download", name, "--repo-type", "dataset", "--local-dir", str(tmp_path / "down"))
    assert digests(tmp_path / "down") == digests(folder)


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_goes_up_and_down_without_xet_and_by_git(
    granian_server: RunningHub, new_repo, tmp_path: Path, size: Size
):
    name = new_repo("lfs")
    folder = make_folder(tmp_path / "data", size_bytes=size.total, seed=size.total + 1)
    plain = Machine(tmp_path / "plain", granian_server.url, "alice", HF_HUB_DISABLE_XET="1")
    plain.hf("upload", name, str(folder), "--repo-type", "dataset")
    plain.hf("download", name, "--repo-type", "dataset", "--local-dir", str(tmp_path / "down"))
    assert digests(tmp_path / "down") == digests(folder)

    git("clone", "-q", remote(granian_server, f"/datasets/{name}"), str(tmp_path / "clone"), with_lfs=True)
    assert digests(tmp_path / "clone") == digests(folder)


def test_what_came_by_xet_leaves_by_every_door(granian_server: RunningHub, new_repo, tmp_path: Path):
    name = new_repo("doors")
    folder = make_folder(tmp_path / "data", size_bytes=6 * MB, seed=5)
    Machine(tmp_path / "up", granian_server.url, "alice").hf("upload", name, str(folder), "--repo-type", "dataset")
    Machine(tmp_path / "plain", granian_server.url, HF_HUB_DISABLE_XET="1").hf(
        "download", name, "--repo-type", "dataset", "--local-dir", str(tmp_path / "down")
    )
    git("clone", "-q", remote(granian_server, f"/datasets/{name}"), str(tmp_path / "clone"), with_lfs=True)
    assert digests(tmp_path / "down") == digests(tmp_path / "clone") == digests(folder)
    part = granian_server.call("GET", f"/datasets/{name}/resolve/main/part-2.bin", headers={"Range": "bytes=1000000-"})
    assert part.status_code == 206
    assert part.content == (folder / "part-2.bin").read_bytes()[1_000_000:]


def test_a_file_of_many_stretches_of_a_xorb_comes_down_without_what_lies_between(
    granian_server: RunningHub, new_repo, tmp_path: Path
):
    """Every second chunk of a xorb, by version 2 of the download plan."""
    name = new_repo("stretches")
    whole = XetFile(make_recording(3_000_000, random.Random(8)))
    part = whole.every_second_chunk()
    token = granian_server.call("GET", f"/api/datasets/{name}/xet-write-token/main", person="alice").json()
    headers = {"Authorization": f"Bearer {token['accessToken']}"}
    sent = granian_server.call("POST", f"/xet/v1/xorbs/default/{whole.xorb_hash}", data=whole.xorb, headers=headers)
    assert sent.status_code == 200, sent.text
    assert granian_server.call("POST", "/xet/v1/shards", data=part.shard, headers=headers).status_code == 200
    value = {"path": "part.bin", "algo": "sha256", "oid": part.sha256, "size": len(part.content)}
    assert granian_server.commit(f"/api/datasets/{name}/commit/main", {"key": "lfsFile", "value": value}).ok
    with count_bytes(granian_server.port) as proxy:
        machine = Machine(tmp_path / "down", proxy.url)
        machine.hf("download", name, "part.bin", "--repo-type", "dataset", "--local-dir", str(tmp_path))
        assert (tmp_path / "part.bin").read_bytes() == part.content
        assert len(part.content) < proxy.received < 1.1 * len(part.content)  # and nothing of the other chunks


@pytest.mark.parametrize("size", SIZES)
def test_a_stranger_proposes_a_folder_and_the_owner_merges(
    granian_server: RunningHub, new_repo, tmp_path: Path, size: Size
):
    name = new_repo("proposed")
    folder = make_folder(tmp_path / "data", size_bytes=size.total, seed=size.total + 2)
    stranger = Machine(tmp_path / "bob", granian_server.url, "bob")
    said = stranger.hf(
        "upload", name, str(folder), "--repo-type", "dataset", "--create-pr", "--commit-message", "Add tables"
    )
    assert f"{granian_server.url}/datasets/{name}/" in said
    merge = f"""
pull = next(iter(api.get_repo_discussions({name!r}, repo_type="dataset")))
details = api.get_discussion_details({name!r}, pull.num, repo_type="dataset")
api.merge_pull_request({name!r}, pull.num, repo_type="dataset", comment="Thanks")
print(details.title, details.author, api.get_discussion_details({name!r}, pull.num, repo_type="dataset").status)
"""
    assert (
        Machine(tmp_path / "alice", granian_server.url, "alice").python(merge).split("\n")[0] == "Add tables bob merged"
    )
    Machine(tmp_path / "charlie", granian_server.url, "charlie").hf(
        "download", name, "--repo-type", "dataset", "--local-dir", str(tmp_path / "down")
    )
    assert digests(tmp_path / "down") == digests(folder)
