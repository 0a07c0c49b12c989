"""Parameter counts and tensor headers of safetensors files, read from their first bytes only."""

import json
from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.api.hf.endpoints import answer, endpoint, open_reader, with_repo
from hub.common.errors import EntryNotFound, HubError, InvalidInput, TooLarge
from hub.repos.models import Repo
from hub.repos.places import store
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from hub.storage.safetensors_header import MAX_HEADER_BYTES, count_parameters, read_header

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARDS = 200
MAX_INDEX_BYTES = 32 * 1024 * 1024
MAX_HEADERS_BYTES = 32 * 1024 * 1024  # of all files of a model; a trillion parameters in experts take about 11


@lru_cache(maxsize=256)
def count_file(sha256: str) -> dict[str, Any]:
    """{"parameters": {dtype: count}, "total": count} of a stored file. Content never changes, so it is kept."""
    with store().open(sha256) as reader:
        return count_parameters(read_header(reader))


@lru_cache(maxsize=1024)
def header_bytes(sha256: str) -> int:
    """What the header of a stored file takes, as its first eight bytes state it."""
    with store().open(sha256) as reader:
        length = int.from_bytes(reader.read(8), "little")
    return length if length <= MAX_HEADER_BYTES else 0  # such a file is refused before its header is read


def are_within_bounds(digests: list[str]) -> bool:
    """Whether the headers of these files, one for each time it is named, may be read for one answer."""
    return sum(header_bytes(sha256) for sha256 in digests) <= MAX_HEADERS_BYTES


def count_tensors(reader: RepoReader, commit: str, files: list[TreeEntry]) -> dict[str, Any] | None:
    """The sum over the model's files, or None when it has none that can be read."""
    by_path = {entry.path: entry for entry in files}
    names = [ONE_FILE] if ONE_FILE in by_path else find_shards(reader, commit, by_path)
    shards = [by_path[name] for name in names if name in by_path and by_path[name].lfs]
    if not shards or len(shards) != len(names):
        return None
    try:
        counts = count_files([entry.lfs.sha256 for entry in shards if entry.lfs])
    except StorageError:
        return None  # a broken file is not a fault of the listing
    return {"parameters": counts, "total": sum(counts.values())} if counts is not None else None


def count_files(digests: list[str]) -> dict[str, int] | None:
    """{dtype: number of parameters}, None where reading it all would take too long."""
    if not are_within_bounds(digests):
        return None
    parameters: dict[str, int] = {}
    for sha256 in digests:
        for dtype, count in count_file(sha256)["parameters"].items():
            parameters[dtype] = parameters.get(dtype, 0) + count
    return parameters


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
    names = shard_names(index)
    digests = {name: find_digest(reader, commit, f"{folder}/{name}" if folder else name) for name in names}
    if not are_within_bounds(list(digests.values())):
        raise TooLarge(f"The headers together have more than {MAX_HEADERS_BYTES:,} bytes; read the files one by one.")
    read = {sha256: open_header(sha256) for sha256 in set(digests.values())}
    headers = {name: read[sha256] for name, sha256 in digests.items()}
    return answer({"headers": headers, "index": {"metadata": index.get("metadata")}}, headers={"X-Repo-Commit": commit})


def find_digest(reader: RepoReader, commit: str, path: str) -> str:
    """The sha256 of a large file that this person may read."""
    entry = reader.entry(commit, path)
    reader.check_bytes(entry)
    if entry.lfs is None:
        raise EntryNotFound(f"{path} is not a safetensors file.")
    return entry.lfs.sha256


def open_header(sha256: str) -> dict[str, Any]:
    with store().open(sha256) as file:
        return read_header(file)


safetensors_metadata = endpoint(GET=show_headers)
