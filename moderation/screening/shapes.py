"""Configuration and weights of one folder, side by side: only together do they show that one of them lies."""

import io
from collections.abc import Iterator
from typing import BinaryIO

from hub.repos.models import Content, Repo
from hub.repos.places import pair, store
from hub.storage.errors import UnknownContent
from hub.storage.git import TreeEntry
from moderation.screens.dimensions import MAX_CONFIG_BYTES, check_dimensions
from moderation.screens.findings import Finding
from moderation.screens.limits import Deadline, OutOfTime, ScreenLimit, bound_json
from moderation.screens.safetensors_check import BadHeader, read_header

CONFIG = "config.json"
MAX_PARTS = 200  # of a model in many files
MAX_SMALL_BYTES = 64 << 20


def screen_shapes(repo: Repo, commit: str, content: Content, deadline: Deadline) -> list[Finding]:
    """Findings about a config.json, or about weights, by the other of the two in the same folder and commit.
    Raises OutOfTime."""
    folder, _, file = content.path.rpartition("/")
    members = pair(repo).members
    if members.entry(commit, content.path) is None:
        return []  # known here under the name that another commit gave it
    if file == CONFIG:
        weights = [entry for entry in members.tree(commit, folder) if entry.path.endswith(".safetensors")]
        config = members.entry(commit, content.path)
    elif file.endswith(".safetensors"):
        beside = members.entry(commit, f"{folder}/{CONFIG}" if folder else CONFIG)
        own = members.entry(commit, content.path)
        weights, config = [own] if own else [], beside
    else:
        return []
    if config is None or config.size > MAX_CONFIG_BYTES or config.lfs:
        return []
    return list(_compare(repo, content.path, members.read_blob(config.oid), weights[:MAX_PARTS], deadline))


def _compare(repo: Repo, path: str, config: bytes, weights: list[TreeEntry], deadline: Deadline) -> Iterator[Finding]:
    try:
        bound_json(config, deadline)
    except OutOfTime:
        raise
    except ScreenLimit:
        return  # said by the screen of that file
    by_content = {entry.lfs.sha256 if entry.lfs else entry.oid: entry for entry in weights}  # once under many names
    for entry in by_content.values():
        deadline.check()
        try:
            with _open(repo, entry) as reader:
                header, _ = read_header(reader, entry.size, deadline)
        except OutOfTime:
            raise
        except (BadHeader, UnknownContent, ScreenLimit):
            continue  # said by the screen of that file, or not here yet
        found = list(check_dimensions(path, config, header))
        if found:
            yield found[0]
            return


def _open(repo: Repo, entry: TreeEntry) -> BinaryIO:
    if entry.lfs:
        return store().open(entry.lfs.sha256)
    return io.BytesIO(pair(repo).members.read_blob(entry.oid)[:MAX_SMALL_BYTES])
