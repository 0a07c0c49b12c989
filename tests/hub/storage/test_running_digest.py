"""The SHA-256 of a file whose xorbs are followed while they arrive: right in any order, and then not read twice."""

import hashlib
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.storage import blobs, running_digest
from hub.storage.errors import DigestMismatch, MalformedXorb, StorageError
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, format_shard, make_terms
from tests.hub.storage.conftest import ClientUpload

PART = 200_000
UPLOAD = "a" * 64


@dataclass
class Parts:
    """A file in four xorbs, as a client cuts a large one."""

    content: bytes

    def __post_init__(self) -> None:
        self.parts = [ClientUpload(self.content[at : at + PART]) for at in range(0, len(self.content), PART)]
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    def shard(self, order: "list[int] | None" = None, *, sha256: str | None = None, last: int | None = None) -> bytes:
        """Of the parts in this order; `last`: so many chunks of the last one."""
        parts = [self.parts[at] for at in (range(len(self.parts)) if order is None else order)]
        tree, terms, proofs = hashes.MerkleTree(), [], b""
        for part in parts:
            chunks = part.chunks[:last] if part is parts[-1] and last is not None else part.chunks
            own = [hashes.hash_chunk(chunk) for chunk in chunks]
            for chunk, chunk_hash in zip(chunks, own, strict=True):
                tree.add(chunk_hash, len(chunk))
            terms.append((part.terms[0][0], 0, len(chunks), sum(map(len, chunks))))
            proofs += hashes.hash_range(b"".join(own)) + bytes(16)
        stated = sha256 if sha256 is not None else hashlib.sha256(self.content).hexdigest()
        return format_shard([FileDescription(hashes.hash_file(tree.root()), make_terms(terms), proofs, stated)])


@pytest.fixture(scope="module")
def parts() -> Parts:
    return Parts(np.random.default_rng(11).integers(0, 256, 4 * PART, dtype=np.uint8).tobytes())


@pytest.fixture
def readings(monkeypatch) -> list[int]:
    """How many bytes were read for a digest by this thread, the one that the client waits for."""
    sizes: list[int] = []
    mine = threading.get_ident()
    whole = blobs.FileBytes.digest_into

    def digest_into(self, update):
        if threading.get_ident() == mine:
            sizes.append(self.size)
        whole(self, update)

    monkeypatch.setattr(blobs.FileBytes, "digest_into", digest_into)
    return sizes


def nothing(xorb: str) -> bool:
    return False


def send(store, parts: Parts, order: list[int], upload: str = UPLOAD) -> None:
    for at in order:
        part = parts.parts[at]
        store.add_xorb(part.xorb_hash, iter([part.xorb]), upload=upload)


def test_a_file_that_came_in_order_is_not_read_again_for_its_digest(store, parts, readings):
    send(store, parts, [0, 1, 2, 3])
    (stored,) = store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)
    assert stored.sha256 == parts.sha256 and readings == []
    assert b"".join(store.read(stored.sha256)) == parts.content
    assert not list(store.root.glob("followed/*"))


def test_another_process_may_have_followed_it(lay, tmp_path, parts, readings):
    here, there = lay.open(tmp_path / "store"), lay.open(tmp_path / "store")
    for at in range(4):
        send((here, there)[at % 2], parts, [at])
    assert here.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == []


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [0, 1, 3, 2], [3, 2, 1, 0]])
def test_what_came_in_another_order_is_read(store, parts, readings, order):
    send(store, parts, order)
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == [4 * PART]


def test_a_file_of_part_of_a_xorb_is_read(store, parts, readings):
    send(store, parts, [0, 1])
    content = parts.content[:PART] + parts.parts[1].chunks[0]
    sha256 = hashlib.sha256(content).hexdigest()
    (stored,) = store.add_shard(parts.shard([0, 1], sha256=sha256, last=1), may_use=nothing, upload=UPLOAD)
    assert stored.sha256 == sha256 and readings == [len(content)]


def test_a_stated_sha256_is_compared_with_the_digest_that_was_followed(store, parts):
    send(store, parts, [0, 1, 2, 3])
    with pytest.raises(DigestMismatch, match="not " + "0" * 64):
        store.add_shard(parts.shard(sha256="0" * 64), may_use=nothing, upload=UPLOAD)


def test_the_next_file_of_the_same_upload_begins_anew(store, parts, readings):
    other = Parts(parts.content[::-1])
    send(store, parts, [0, 1, 2, 3])
    store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)
    send(store, other, [0, 1, 2, 3])
    assert store.add_shard(other.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == other.sha256
    assert readings == []


def test_a_xorb_that_was_refused_and_came_again_keeps_its_place(store, parts, readings):
    send(store, parts, [0])
    broken = parts.parts[1]
    with pytest.raises(MalformedXorb):
        store.add_xorb(broken.xorb_hash, iter([broken.xorb[:-5]]), upload=UPLOAD)
    send(store, parts, [2, 1, 3])
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == []


def test_who_followed_and_died_is_not_waited_for(store, parts, readings, monkeypatch):
    monkeypatch.setattr(running_digest.RunningDigests, "_digest", lambda *_: None)  # ends at once, as by a kill
    monkeypatch.setattr(running_digest.RunningDigests, "forget", lambda *_: None)
    send(store, parts, [0, 1, 2, 3])
    for thread in threading.enumerate():
        if thread.name == "running-digest":
            thread.join()
    started = time.monotonic()
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == [4 * PART] and time.monotonic() - started < running_digest.WAIT_S


def test_two_uploads_at_once_do_not_mix(store, parts, readings):
    other = Parts(parts.content[::-1])
    for at in range(4):
        send(store, parts, [at])
        send(store, other, [at], upload="b" * 64)
    assert store.add_shard(other.shard(), may_use=nothing, upload="b" * 64)[0].sha256 == other.sha256
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == []


def test_one_process_follows_few_uploads_and_the_others_are_read(lay, tmp_path, parts, readings, monkeypatch):
    monkeypatch.setattr(running_digest, "AT_ONCE", 1)
    store = lay.open(tmp_path / "store")
    send(store, parts, [0, 1], upload="c" * 64)  # its shard never comes
    send(store, parts, [0, 1, 2, 3])
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == [4 * PART]
    store._running.forget("c" * 64)


def test_notes_of_an_upload_that_broke_off_are_swept(store, parts):
    send(store, parts, [0])
    assert len(list(store.root.glob("followed/*"))) == 1
    store.sweep(set(), grace_s=60, now=time.time() + 50)
    assert len(list(store.root.glob("followed/*"))) == 1
    assert store.sweep(set(), grace_s=60, now=time.time() + 120).leftovers == 1
    assert not list(store.root.glob("followed/*"))


def test_a_name_that_leads_elsewhere_is_no_upload(store, parts):
    with pytest.raises(ValueError, match="hexadecimal"):
        send(store, parts, [0], upload="../../elsewhere")


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations([0, 1, 2, 3]),
    listed=st.permutations([0, 1, 2, 3]),
    hands=st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_the_digest_is_that_of_the_file_whatever_arrived_when(order, listed, hands, parts, lay, tmp_path_factory):
    root = tmp_path_factory.mktemp("any")
    stores = lay.open(root), lay.open(root)
    for at, hand in zip(order, hands, strict=True):
        send(stores[hand], parts, [at])
    content = b"".join(parts.content[at * PART : (at + 1) * PART] for at in listed)
    sha256 = hashlib.sha256(content).hexdigest()
    (stored,) = stores[0].add_shard(parts.shard(listed, sha256=sha256), may_use=nothing, upload=UPLOAD)
    assert stored.sha256 == sha256


@pytest.mark.parametrize("torn", ["# 1 12ab", "# 3 " + "0" * 64 + "\n", "\0" * 70 + "\n"])
def test_a_line_that_was_cut_is_no_digest(store, parts, readings, torn):
    """Of a full disk that had room again: all later digests would have been those of one xorb more."""
    send(store, parts, [0])
    (notes,) = store.root.glob("followed/*")
    with open(notes, "a") as file:
        file.write(torn)
    send(store, parts, [1, 2, 3])
    assert store.add_shard(parts.shard(), may_use=nothing, upload=UPLOAD)[0].sha256 == parts.sha256
    assert readings == [4 * PART]


def test_a_refused_shard_ends_the_notes(store, parts):
    send(store, parts, [0, 1])
    with pytest.raises(StorageError):
        store.add_shard(b"nonsense", may_use=nothing, upload=UPLOAD)
    assert not list(store.root.glob("followed/*"))
