"""What a Xet client would send, made by hand, so that tests can bend every part of it."""

import hashlib
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
import pytest

from hub.storage.chunks import Chunker
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, format_shard, make_terms
from hub.storage.xet.xorbs import XorbWriter
from tests.hub.storage.laid import InBucket, Lay, OnDisk


@dataclass
class ClientUpload:
    """One file as one xorb and one shard; change a field, and the shard tells a lie."""

    content: bytes
    chunks: list[bytes] = field(init=False)
    xorb: bytes = field(init=False)
    xorb_hash: str = field(init=False)
    file_hash: bytes = field(init=False)
    terms: list[tuple[bytes, int, int, int]] = field(init=False)
    verification: list[bytes] | None = field(init=False)
    sha256: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.chunks = list(Chunker().cut([self.content]))
        file = BytesIO()
        writer = XorbWriter(file)
        for chunk in self.chunks:
            writer.add(hashes.hash_chunk(chunk), chunk)
        index = writer.finish()
        self.xorb = file.getvalue()[: index.packed_ends[-1]]  # like the client: without footer
        self.xorb_hash = hashes.to_hex(index.xorb_hash)
        self.file_hash = hashes.hash_file(index.xorb_hash)
        self.terms = [(index.xorb_hash, 0, len(index), len(self.content))]
        self.verification = [hashes.hash_range(index.chunk_hashes)]
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    @property
    def shard(self) -> bytes:
        proofs = None if self.verification is None else b"".join(proof + bytes(16) for proof in self.verification)
        return format_shard([FileDescription(self.file_hash, make_terms(self.terms), proofs, self.sha256)])


@pytest.fixture(scope="session", params=["disk", pytest.param("bucket", marks=pytest.mark.slow)])
def lay(request) -> Lay:
    """Where the objects of a store lie: every test of the store runs on both, the bucket's on a real server."""
    if request.param == "disk":
        return OnDisk()
    return InBucket(request.getfixturevalue("object_storage"))


@pytest.fixture
def store(lay, tmp_path):
    return lay.open(tmp_path / "store")


@pytest.fixture(scope="session")
def make_upload():
    return ClientUpload


@pytest.fixture(scope="session")
def make_bytes():
    """Bytes that do not compress, the same for the same seed."""

    def make(count: int, seed: int = 0) -> bytes:
        return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()

    return make
