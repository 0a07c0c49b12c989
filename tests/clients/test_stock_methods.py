"""Methods of HfApi, HfFileSystem and what people import beside them, one after the other against a running hub."""

import hashlib
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitScheduler,
    DatasetCard,
    HfFileSystem,
    HFSummaryWriter,
    ModelCard,
    SpaceCard,
    hf_hub_download,
    hf_hub_url,
    login,
    metadata_update,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import save_file

from tests.clients.running_hub import TOKENS, RunningHub

NOISE = hashlib.shake_256(b"tides").digest(200_000)


@pytest.fixture
def home(hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# --- repositories


@pytest.mark.covers("HfApi.dataset_info", "HfApi.revision_exists", "HfApi.resolve_revision", "HfApi.get_full_repo_name")
def test_a_dataset_and_its_revisions(api: Any, repo: str):
    info = api.dataset_info(repo)
    assert (info.id, info.card_data.license, info.private) == (repo, "cc-by-4.0", False)
    assert {file.rfilename for file in info.siblings} >= {"tides.csv", "data/deep/two.txt"}
    assert api.revision_exists(repo, "main", repo_type="dataset")
    assert not api.revision_exists(repo, "nothing", repo_type="dataset")
    assert api.resolve_revision(repo, revision="main", repo_type="dataset").resolved == info.sha
    with pytest.raises(RevisionNotFoundError):
        api.resolve_revision(repo, revision="nothing", repo_type="dataset")
    assert api.get_full_repo_name("poems") == "alice/poems"
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("alice/nothing-at-all")


@pytest.mark.covers("HfApi.space_info")
def test_a_space_is_a_repository(api: Any, a_name: str):
    api.create_repo(a_name, repo_type="space", space_sdk="static")
    info = api.space_info(a_name)
    assert (info.id, info.author) == (a_name, "alice")


@pytest.mark.covers("HfApi.get_model_tags", "HfApi.get_dataset_tags")
def test_tags_come_by_kind(api: Any, repo: str, model: str):
    models, datasets = api.get_model_tags(), api.get_dataset_tags()
    assert "license:apache-2.0" in {tag["id"] for tag in models["license"]}
    assert "license:cc-by-4.0" in {tag["id"] for tag in datasets["license"]}


@pytest.mark.covers("HfApi.run_as_future")
def test_a_call_can_run_beside(api: Any, repo: str):
    future = api.run_as_future(api.repo_info, repo, repo_type="dataset")
    assert isinstance(future, Future) and future.result().id == repo


# --- files


@pytest.mark.covers("HfApi.delete_files", "HfApi.preupload_lfs_files", "CommitOperationAdd")
def test_files_go_up_before_their_commit_and_away_by_patterns(api: Any, repo: str):
    large = CommitOperationAdd("noise.bin", NOISE)
    api.preupload_lfs_files(repo, [large], repo_type="dataset")
    assert large._is_uploaded and "noise.bin" not in api.list_repo_files(repo, repo_type="dataset")
    api.create_commit(repo, [large], commit_message="Add noise", repo_type="dataset")
    assert "noise.bin" in api.list_repo_files(repo, repo_type="dataset")
    api.delete_files(repo, ["*.bin", "data/"], repo_type="dataset")
    left = api.list_repo_files(repo, repo_type="dataset")
    assert left == [".gitattributes", "README.md", "tides.csv"]


@pytest.mark.covers("HfApi.get_hf_file_metadata", "HfApi.verify_repo_checksums")
def test_a_file_is_described_and_a_download_verified(api: Any, repo: str, tmp_path: Path):
    api.upload_file(path_or_fileobj=NOISE, path_in_repo="noise.bin", repo_id=repo, repo_type="dataset")
    told = api.get_hf_file_metadata(url=hf_hub_url(repo, "noise.bin", repo_type="dataset", endpoint=api.endpoint))
    assert (told.size, told.etag) == (len(NOISE), hashlib.sha256(NOISE).hexdigest())
    api.snapshot_download(repo, repo_type="dataset", local_dir=tmp_path)
    result = api.verify_repo_checksums(repo, repo_type="dataset", local_dir=tmp_path)
    assert (result.mismatches, result.missing_paths) == ([], [])
    (tmp_path / "noise.bin").write_bytes(b"changed")
    result = api.verify_repo_checksums(repo, repo_type="dataset", local_dir=tmp_path)
    assert [row["path"] if isinstance(row, dict) else row.path for row in result.mismatches] == ["noise.bin"]


@pytest.mark.covers("HfApi.list_lfs_files")
def test_large_files_are_listed(api: Any, repo: str):
    api.upload_file(path_or_fileobj=NOISE, path_in_repo="noise.bin", repo_id=repo, repo_type="dataset")
    (row,) = list(api.list_lfs_files(repo, repo_type="dataset"))
    assert (row.filename, row.size, row.oid) == ("noise.bin", len(NOISE), hashlib.sha256(NOISE).hexdigest())


@pytest.mark.covers("HfApi.permanently_delete_lfs_files")
def test_large_files_are_deleted_for_good(api: Any, repo: str):
    before = api.upload_file(path_or_fileobj=NOISE, path_in_repo="noise.bin", repo_id=repo, repo_type="dataset")
    rows = list(api.list_lfs_files(repo, repo_type="dataset"))
    api.permanently_delete_lfs_files(repo, rows, repo_type="dataset")
    assert list(api.list_lfs_files(repo, repo_type="dataset")) == []
    assert "noise.bin" not in api.list_repo_files(repo, repo_type="dataset")
    with pytest.raises(RevisionNotFoundError, match="files were purged"):
        api.list_repo_files(repo, repo_type="dataset", revision=before.oid)
    api.upload_file(path_or_fileobj=NOISE, path_in_repo="again.bin", repo_id=repo, repo_type="dataset")
    path = api.hf_hub_download(repo, "again.bin", repo_type="dataset")
    assert Path(path).read_bytes() == NOISE


@pytest.mark.covers("HfApi.copy_files")
def test_files_are_copied_to_another_repository(api: Any, repo: str, a_name: str):
    target = f"{a_name}-copy"
    api.create_repo(target, repo_type="dataset")
    api.upload_file(path_or_fileobj=NOISE, path_in_repo="noise.bin", repo_id=repo, repo_type="dataset")
    api.copy_files(f"hf://datasets/{repo}/noise.bin", f"hf://datasets/{target}/again.bin")
    (entry,) = api.get_paths_info(target, ["again.bin"], repo_type="dataset")
    assert entry.lfs.sha256 == hashlib.sha256(NOISE).hexdigest()


@pytest.mark.covers("HfApi.parse_safetensors_file_metadata", "HfApi.get_sharded_safetensors_metadata")
def test_headers_of_weights_are_read_without_the_weights(api: Any, model: str, tmp_path: Path):
    shards = {"model-00001-of-00002.safetensors": "a", "model-00002-of-00002.safetensors": "b"}
    for name, key in shards.items():
        save_file({key: np.zeros((4, 8), dtype=np.float32)}, tmp_path / name)
    index = {"metadata": {"total_size": 256}, "weight_map": {key: name for name, key in shards.items()}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    api.upload_folder(repo_id=model, folder_path=tmp_path)
    told = api.parse_safetensors_file_metadata(model, "model-00001-of-00002.safetensors")
    assert told.tensors["a"].shape == [4, 8] and told.parameter_count == {"F32": 32}
    whole = api.get_sharded_safetensors_metadata(model)
    assert whole.weight_map == index["weight_map"] and whole.parameter_count == {"F32": 64}


# --- downloads and their cache


@pytest.mark.covers("snapshot_download", "hf_hub_download", "try_to_load_from_cache", "scan_cache_dir")
def test_a_cache_remembers_what_is_there_and_what_is_not(api: Any, repo: str, home: Path):
    path = hf_hub_download(repo, "tides.csv", repo_type="dataset")
    assert Path(path).read_text() == "harbour,high\nBrest,6.1\n"
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(repo, "nothing.txt", repo_type="dataset")
    from huggingface_hub import _CACHED_NO_EXIST

    assert try_to_load_from_cache(repo, "nothing.txt", repo_type="dataset") is _CACHED_NO_EXIST
    assert try_to_load_from_cache(repo, "tides.csv", repo_type="dataset") == path
    folder = Path(snapshot_download(repo, repo_type="dataset", allow_patterns="data/*"))
    assert (folder / "data/deep/two.txt").read_text() == "two\n" and not (folder / "README.md").exists()
    # Without the hub: what is there is there.
    assert hf_hub_download(repo, "tides.csv", repo_type="dataset", local_files_only=True) == path
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download(repo, "README.md", repo_type="dataset", local_files_only=True)
    # A change has a new name in the cache; the old revision stays.
    before = api.repo_info(repo, repo_type="dataset").sha
    api.upload_file(path_or_fileobj=b"new\n", path_in_repo="tides.csv", repo_id=repo, repo_type="dataset")
    newer = hf_hub_download(repo, "tides.csv", repo_type="dataset")
    assert newer != path and Path(newer).read_text() == "new\n"
    assert hf_hub_download(repo, "tides.csv", repo_type="dataset", revision=before) == path
    (found,) = scan_cache_dir(home).repos
    assert (found.repo_id, len(found.revisions)) == (repo, 2)


@pytest.mark.covers("CommitScheduler")
def test_a_folder_is_committed_in_the_background(api: Any, a_name: str, tmp_path: Path):
    scheduler = CommitScheduler(
        repo_id=a_name, repo_type="dataset", folder_path=tmp_path, every=60, hf_api=api, token=api.token
    )
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n')
    scheduler.trigger().result()
    assert "log.jsonl" in api.list_repo_files(a_name, repo_type="dataset")
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"a": 2}\n')
    scheduler.stop()
    scheduler.push_to_hub()
    assert api.get_paths_info(a_name, ["log.jsonl"], repo_type="dataset")[0].size == 18


@pytest.mark.covers("HFSummaryWriter")
def test_curves_are_committed_as_they_grow(
    api: Any, model: str, hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", api.token)
    with HFSummaryWriter(model, logdir=str(tmp_path / "run"), commit_every=60) as writer:
        for step in range(3):
            writer.add_scalar("loss", 1 / (step + 1), step)
    writer.scheduler.stop()
    (path,) = [name for name in api.list_repo_files(model) if name.startswith("tensorboard/run/")]
    assert ".tfevents." in path and b"loss" in Path(hf_hub_download(model, path, cache_dir=tmp_path)).read_bytes()
    assert api.model_info(model).card_data.tags == ["tides", "hf-summary-writer"]


# --- cards


@pytest.mark.covers("ModelCard", "DatasetCard", "SpaceCard", "metadata_update")
def test_cards_are_loaded_changed_and_pushed(api: Any, hub: RunningHub, model: str, repo: str, a_name: str):
    card = ModelCard.load(model, token=api.token)
    assert card.data.license == "apache-2.0" and "# Tide model" in card.text
    card.data.tags = ["tides", "moon"]
    card.push_to_hub(model, token=api.token)
    assert api.model_info(model).card_data.tags == ["tides", "moon"]
    metadata_update(model, {"language": "fr"}, overwrite=True, token=api.token)
    assert ModelCard.load(model, token=api.token).data.language == "fr"
    assert DatasetCard.load(repo, token=api.token).data.license == "cc-by-4.0"
    space = f"{a_name}-space"
    api.create_repo(space, repo_type="space", space_sdk="static")
    SpaceCard("---\ntitle: Tides\nsdk: static\n---\nTides").push_to_hub(space, repo_type="space", token=api.token)
    assert SpaceCard.load(space, token=api.token).data.title == "Tides"


@pytest.mark.covers("login")
def test_a_token_is_kept_after_the_hub_knew_it(hub: RunningHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants, get_token

    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "stored"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        login("hf_wrong" + "0" * 20, skip_if_logged_in=False)
    login(TOKENS["alice"], skip_if_logged_in=False)
    assert get_token() == TOKENS["alice"]


# --- as a file system


@pytest.fixture
def files(api: Any) -> HfFileSystem:
    return HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)


@pytest.mark.covers(
    "HfFileSystem.ls", "HfFileSystem.find", "HfFileSystem.glob", "HfFileSystem.walk", "HfFileSystem.info",
    "HfFileSystem.exists", "HfFileSystem.isdir", "HfFileSystem.isfile", "HfFileSystem.modified", "HfFileSystem.url",
    "HfFileSystem.resolve_path", "HfFileSystem.du", "HfFileSystem.invalidate_cache",
)  # fmt: skip
def test_a_repository_is_looked_through_like_a_folder(files: HfFileSystem, repo: str, api: Any):
    root = f"datasets/{repo}"
    assert {Path(name).name for name in files.ls(root, detail=False)} == {
        ".gitattributes", "README.md", "tides.csv", "data",
    }  # fmt: skip
    assert files.find(f"{root}/data") == [f"{root}/data/deep/two.txt", f"{root}/data/one.txt"]
    assert files.glob(f"{root}/**/*.txt") == [f"{root}/data/deep/two.txt", f"{root}/data/one.txt"]
    assert [folder for folder, _, _ in files.walk(f"{root}/data")] == [f"{root}/data", f"{root}/data/deep"]
    assert files.info(f"{root}/tides.csv")["size"] == 23
    assert files.isdir(f"{root}/data") and files.isfile(f"{root}/tides.csv") and not files.exists(f"{root}/no.txt")
    assert files.modified(f"{root}/tides.csv").tzinfo is not None
    assert files.url(f"{root}/tides.csv").startswith(api.endpoint)
    assert files.resolve_path(f"{root}@main/data").path_in_repo == "data"
    assert files.du(f"{root}/data") == 8
    api.upload_file(path_or_fileobj=b"x", path_in_repo="data/new.txt", repo_id=repo, repo_type="dataset")
    files.invalidate_cache()
    assert files.exists(f"{root}/data/new.txt")


@pytest.mark.covers(
    "HfFileSystem.open", "HfFileSystem.cat", "HfFileSystem.cat_file", "HfFileSystem.read_text", "HfFileSystem.read_block",
    "HfFileSystem.get", "HfFileSystem.get_file",
)  # fmt: skip
def test_files_are_read_in_parts(files: HfFileSystem, repo: str, api: Any, tmp_path: Path):
    root = f"datasets/{repo}"
    api.upload_file(path_or_fileobj=NOISE, path_in_repo="noise.bin", repo_id=repo, repo_type="dataset")
    with files.open(f"{root}/noise.bin", "rb") as file:
        file.seek(150_000)
        assert file.read(1000) == NOISE[150_000:151_000]
    assert files.cat_file(f"{root}/noise.bin", start=10, end=20) == NOISE[10:20]
    assert files.cat([f"{root}/data/one.txt", f"{root}/data/deep/two.txt"])[f"{root}/data/one.txt"] == b"one\n"
    assert files.read_text(f"{root}/tides.csv") == "harbour,high\nBrest,6.1\n"
    assert files.read_block(f"{root}/tides.csv", 0, 5, delimiter=b"\n") == b"harbour,high\n"
    files.get(f"{root}/data/", str(tmp_path), recursive=True)
    assert (tmp_path / "deep/two.txt").read_text() == "two\n"
    files.get_file(f"{root}/noise.bin", str(tmp_path / "n.bin"))
    assert (tmp_path / "n.bin").read_bytes() == NOISE


@pytest.mark.covers(
    "HfFileSystem.write_text", "HfFileSystem.put", "HfFileSystem.put_file", "HfFileSystem.cp_file", "HfFileSystem.mv",
    "HfFileSystem.rm",
)  # fmt: skip
def test_files_are_written_moved_and_removed(files: HfFileSystem, repo: str, api: Any, tmp_path: Path):
    root = f"datasets/{repo}"
    (tmp_path / "local.txt").write_text("local\n")
    files.write_text(f"{root}/new.txt", "new\n")
    files.put_file(str(tmp_path / "local.txt"), f"{root}/put.txt")
    files.put(str(tmp_path / "local.txt"), f"{root}/again.txt")
    files.cp_file(f"{root}/new.txt", f"{root}/copied.txt")
    files.mv(f"{root}/put.txt", f"{root}/moved.txt")
    files.rm(f"{root}/data", recursive=True)
    assert set(api.list_repo_files(repo, repo_type="dataset")) == {
        ".gitattributes", "README.md", "tides.csv", "new.txt", "again.txt", "copied.txt", "moved.txt",
    }  # fmt: skip
