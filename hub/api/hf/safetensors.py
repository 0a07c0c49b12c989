"""Parameter counts and tensor headers of safetensors files, read from their first bytes only."""

import json
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.api.hf.endpoints import answer, endpoint, open_reader, with_repo
from hub.common.errors import EntryNotFound, HubError, InvalidInput
from hub.repos.models import Repo
from hub.repos.places import store
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from hub.storage.safetensors_header import count_parameters, read_header

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARDS = 200
MAX_INDEX_BYTES = 32 * 1024 * 1024


@lru_cache(maxsize=256)
def count_file(sha256: str) -> dict[str, Any]:
    """{"parameters": {dtype: count}, "total": count} of a stored file. Content never changes, so it is kept."""
    with store().open(sha256) as reader:
        return count_parameters(read_header(reader))


def count_tensors(reader: RepoReader, commit: str, files: list[TreeEntry]) -> dict[str, Any] | None:
    """The sum over the model's files, or None when it has none that can be read."""
    by_path = {entry.path: entry for entry in files}
    names = [ONE_FILE] if ONE_FILE in by_path else find_shards(reader, commit, by_path)
    shards = [by_path[name] for name in names if name in by_path and by_path[name].lfs]
    if not shards or len(shards) != len(names):
        return None
    parameters: dict[str, int] = {}
    for entry in shards:
        try:
            counts = count_file(entry.lfs.sha256)["parameters"]  # type: ignore[union-attr]
        except StorageError:
            return None  # a broken file is not a fault of the listing
        for dtype, count in counts.items():
            parameters[dtype] = parameters.get(dtype, 0) + count
    return {"parameters": parameters, "total": sum(parameters.values())}


def find_shards(reader: RepoReader, commit: str, by_path: dict[str, TreeEntry]) -> list[str]:
    """The files that the index names; [] when there is no index that reads."""
    entry = by_path.get(INDEX)
    if entry is None or entry.size > MAX_INDEX_BYTES:
        return []
    try:
        return shard_names(json.loads(b"".join(reader.read_entry(commit, entry))))
    except (ValueError, RecursionError, HubError):
        return []


def shard_names(index: Any) -> list[str]:
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise InvalidInput("The index has no 'weight_map'.")
    names = sorted({name for name in weight_map.values() if isinstance(name, str)})
    if len(names) > MAX_SHARDS:
        raise InvalidInput(f"The index names {len(names):,} files; at most {MAX_SHARDS} are read.")
    return names


@with_repo()
def show_headers(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    """The headers of all shards that an index names, so that the client need not ask for each."""
    reader = open_reader(request, repo)
    commit = reader.resolve(None)
    try:
        index = json.loads(reader.read_bytes(commit, rest, limit=MAX_INDEX_BYTES))
    except (ValueError, RecursionError):
        raise InvalidInput(f"{rest} is not a safetensors index: it is not JSON.") from None
    folder = rest.rpartition("/")[0]
    headers = {}
    for name in shard_names(index):
        path = f"{folder}/{name}" if folder else name
        entry = reader.entry(commit, path)
        reader.check_bytes(entry)
        if entry.lfs is None:
            raise EntryNotFound(f"{path} is not a safetensors file.")
        with store().open(entry.lfs.sha256) as file:
            headers[name] = read_header(file)
    return answer({"headers": headers, "index": {"metadata": index.get("metadata")}}, headers={"X-Repo-Commit": commit})


safetensors_metadata = endpoint(GET=show_headers)
