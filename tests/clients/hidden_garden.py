"""A public repository in which most things are hidden, and a private one beside it.

Every hidden text, name and byte carries a mark, so that a test can look for it in whatever an answer holds."""

import hashlib
import os
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from hub.storage.chunks import Chunker
from hub.storage.xet import hashes
from tests.clients.running_hub import RunningHub
from tests.clients.stock_client import Machine
from tests.recordings import make_recording

LARGE_BYTES = 1_500_000
MARKS = ("mark-of-pending", "mark-of-secret", "mark-of-later", "mark-of-proposal", "mark-of-private")
NAMES = ("people.txt", "key.txt", "later.txt", "later.bin", "proposal.txt")  # files of commits that are not public


class Trap:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def make_pickle(seed: int) -> bytes:
    """A dangerous pickle that is large enough to share a xorb with other files."""
    return pickle.dumps([random.Random(seed).randbytes(LARGE_BYTES), Trap()])


@dataclass
class Garden:
    """What is where. Large files are kept as bytes, commits and blobs as git ids."""

    hub: RunningHub
    name: str = "garden"
    files: dict[str, bytes] = field(default_factory=dict)  # large ones by path
    commits: dict[str, str] = field(default_factory=dict)
    pull_request: int = 0
    proposed: str = ""  # head of Bob's pull request

    @property
    def api(self) -> str:
        return f"/api/datasets/alice/{self.name}"

    @property
    def page(self) -> str:
        return f"/datasets/alice/{self.name}"

    @cached_property
    def trees(self) -> list[str]:
        return [self._object(f"{commit}^{{tree}}") for commit in self.hidden_commits]

    @cached_property
    def blobs(self) -> list[str]:
        found = [self._object(f"{self.commits['later']}:{name}") for name in NAMES if name != "proposal.txt"]
        return [*found, self._object(f"{self.proposed}:proposal.txt")]

    @property
    def hidden_commits(self) -> list[str]:
        return [self.commits[word] for word in ("pending", "secret", "later")] + [self.proposed]

    @property
    def hidden_large(self) -> list[str]:
        """Paths of large files of this repository that strangers must not get."""
        return ["bad.pkl", "later.bin"]

    def sha256(self, path: str) -> str:
        return hashlib.sha256(self.files[path]).hexdigest()

    def xet_hash(self, path: str) -> str:
        ((found,),) = self.hub.query("SELECT xet_hash FROM hub_storedblob WHERE sha256 = ?", self.sha256(path))
        return str(found)

    def xorbs(self, path: str) -> list[str]:
        rows = self.hub.query("SELECT xorb FROM hub_blobxorb WHERE blob_id = ?", self.sha256(path))
        return [row[0] for row in rows]

    def chunk_hashes(self, path: str) -> list[bytes]:
        return [hashes.hash_chunk(chunk) for chunk in Chunker().cut([self.files[path]])]

    def _object(self, name: str) -> str:
        return self.hub.git_in(self.name, "rev-parse", name)

    def holds_hidden(self, answer: requests.Response) -> bool:
        """Whether an answer gives away anything: a marked text, a hidden name or id, a digest, or hidden bytes."""
        if answer.status_code >= 300:
            return False
        hidden_ids = [*self.hidden_commits, *self.trees, *self.blobs]
        names = [*MARKS, *NAMES, *hidden_ids, *(self.sha256(path) for path in self.hidden_large)]
        names += [self.xet_hash(path) for path in self.hidden_large]
        pieces = [data[at : at + 64] for data in self._hidden_bytes() for at in (0, 100_000, len(data) - 200)]
        return any(name.encode() in answer.content for name in names) or any(p in answer.content for p in pieces)

    def _hidden_bytes(self) -> Iterator[bytes]:
        return (self.files[path] for path in [*self.hidden_large, "cellar.bin"])


def plant_garden(hub: RunningHub, folder: Path) -> Garden:
    """alice/garden: `open` is public; `pending`, `secret` and `later` stand on it and are not. alice/cellar is private."""
    noise = random.Random(11)
    garden = Garden(hub)
    for name in ("open.bin", "later.bin", "cellar.bin", "bobs.bin"):
        garden.files[name] = make_recording(LARGE_BYTES, noise)
    garden.files["bad.pkl"] = make_pickle(12)
    for name, is_private in (("garden", False), ("cellar", True)):
        body = {"name": name, "type": "dataset", "private": is_private}
        assert hub.call("POST", "/api/repos/create", person="alice", json=body).status_code == 200

    # The stock client packs both into one xorb: one of them is cleared, the other withheld.
    upload(garden, folder / "first", ["open.bin", "bad.pkl"], text={"open.txt": "seen by all\n"})
    garden.commits["open"] = garden.hub.git_in("garden", "rev-parse", "main")
    iban = "DE89 3704 0044 0532 0130 00"
    commit(garden, "pending", {"people.txt": f"mark-of-pending, account {iban}\n"})
    key = "AKIA" + "Q3EGRT7YH2KL9MNB"  # composed: this file itself shall hold nothing that looks like a key
    commit(garden, "secret", {"key.txt": f"mark-of-secret\naws_access_key_id = {key}\n"})
    upload(garden, folder / "later", ["later.bin"], text={"later.txt": "mark-of-later\n"})
    garden.commits["later"] = garden.hub.git_in("garden", "rev-parse", "main")
    hub.call("POST", f"{garden.api}/tag/{garden.commits['secret']}", person="alice", json={"tag": "v0"})
    hub.call("POST", f"{garden.api}/branch/side", person="alice", json={"startingPoint": garden.commits["later"]})
    upload(garden, folder / "cellar", ["cellar.bin"], text={"wine.txt": "mark-of-private\n"}, name="alice/cellar")
    propose(garden, iban)
    return garden


def upload(garden: Garden, folder: Path, large: list[str], text: dict[str, str], name: str = "alice/garden") -> None:
    data = folder / "data"
    data.mkdir(parents=True)
    for path in large:
        (data / path).write_bytes(garden.files[path])
    for path, words in text.items():
        (data / path).write_text(words)
    Machine(folder, garden.hub.url, "alice").hf("upload", name, str(data), "--repo-type", "dataset")


def commit(garden: Garden, word: str, files: dict[str, str]) -> None:
    answer = garden.hub.commit(f"{garden.api}/commit/main", *map(text_line, files.items()), summary="Grow")
    assert answer.status_code == 200, answer.text
    garden.commits[word] = answer.json()["commitOid"]


def propose(garden: Garden, iban: str) -> None:
    line = text_line(("proposal.txt", f"mark-of-proposal, account {iban}\n"))
    answer = garden.hub.commit(f"{garden.api}/commit/main?create_pr=1", line, person="bob", summary="Bob's plan")
    assert answer.status_code == 200, answer.text
    garden.proposed = answer.json()["commitOid"]
    garden.pull_request = int(answer.json()["pullRequestUrl"].rpartition("/")[2])


def text_line(file: tuple[str, str]) -> dict[str, Any]:
    return {"key": "file", "value": {"path": file[0], "content": file[1], "encoding": "utf-8"}}


def large_line(path: str, data: bytes) -> dict[str, Any]:
    value = {"path": path, "algo": "sha256", "oid": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return {"key": "lfsFile", "value": value}


def revisions(garden: Garden) -> list[str]:
    """Every name under which something hidden can be asked for."""
    names = ["v0", "side", f"refs/pr/{garden.pull_request}", "refs/heads/side", "refs/tags/v0"]
    return [quote(name, safe="") for name in [*names, *garden.hidden_commits]]
