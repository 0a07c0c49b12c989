import hashlib
import io
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.storage.blobs import BlobStore
from hub.storage.errors import (
    DigestMismatch,
    InvalidRange,
    StorageError,
    TooLarge,
    UnknownContent,
)
from hub.storage.xet import xorbs

NOTHING = "0" * 64


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_all(store: BlobStore, sha256: str) -> bytes:
    return b"".join(store.read(sha256))


@pytest.fixture
def xorb_bytes(lay):
    return lambda store: sum(lay.list(store.root, "xorbs").values())


# Files


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 131072, 131073, 3_000_000])
def test_a_file_comes_back_as_it_was_added(store, make_bytes, size):
    content = make_bytes(size)
    stored = store.add([content], expected_sha256=digest(content), expected_size=size)
    assert (stored.sha256, stored.size) == (digest(content), size)
    assert store.find(stored.sha256) == store.find_by_xet(stored.xet_hash) == stored
    assert read_all(store, stored.sha256) == content


def test_readers_get_small_pieces_since_the_server_holds_some_for_each(store, make_bytes):
    stored = store.add([make_bytes(3_000_000)])
    (xorb,) = stored.xorbs
    read = [*store.read(stored.sha256), *store.read_xorb(xorb, 0, store.xorb_size(xorb))]
    assert max(map(len, read)) <= 256 * 1024


def test_a_store_opened_again_knows_its_files(lay, store, make_bytes):
    stored = store.add([make_bytes(100_000)])
    assert lay.open(store.root).find(stored.sha256) == stored


def test_what_is_not_stored_is_not_found(store):
    assert store.find(NOTHING) is store.find_by_xet(NOTHING) is store.xorb_size(NOTHING) is None
    assert store.find("../../secret") is store.xorb_size("../../secret") is store.xorb_path("../../secret") is None
    with pytest.raises(UnknownContent):
        store.read(NOTHING)
    with pytest.raises(UnknownContent):
        store.open(NOTHING)
    with pytest.raises(UnknownContent):
        store.plan(NOTHING)


@pytest.mark.parametrize(
    "announced", [{"expected_sha256": NOTHING}, {"expected_size": 99_999}, {"expected_size": 100_001}]
)
def test_a_file_that_is_not_what_was_announced_is_refused_and_leaves_nothing(lay, store, make_bytes, announced):
    content = make_bytes(100_000)
    with pytest.raises(DigestMismatch):
        store.add([content], **announced)
    assert store.find(digest(content)) is None
    assert not any(lay.list(store.root, kind) for kind in ("xorbs", "files", "sha256"))
    assert not [path for path in store.root.rglob("*") if path.is_file() and path.name != "sweep.lock"
                and "chunks.sqlite" not in path.name]  # fmt: skip


def test_a_file_above_the_limit_is_refused(lay, tmp_path, make_bytes):
    with pytest.raises(TooLarge, match="at most 50000 bytes"):
        lay.open(tmp_path, max_file_bytes=50_000).add([make_bytes(50_001)])


def test_a_body_that_breaks_off_leaves_nothing(lay, store, make_bytes):
    def pieces():
        yield make_bytes(2_000_000)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.add(pieces())
    assert not list(store.root.glob("incoming/*")) and not lay.list(store.root, "files")


CONTENT = np.random.default_rng(5).integers(0, 256, 2_500_000, dtype=np.uint8).tobytes() + bytes(600_000)


@pytest.fixture(scope="module")
def ranged(lay, tmp_path_factory):
    store = lay.open(tmp_path_factory.mktemp("ranged"))
    return store, store.add([CONTENT])


@settings(max_examples=80, deadline=None)
@given(start=st.integers(0, len(CONTENT)), length=st.integers(0, len(CONTENT)))
def test_any_range_reads_right(ranged, start, length):
    store, stored = ranged
    assert b"".join(store.read(stored.sha256, start, start + length)) == CONTENT[start : start + length]


def test_ranges_outside_the_file_are_refused_at_once(ranged):
    store, stored = ranged
    for start, end in ((-1, 5), (len(CONTENT) + 1, None), (10, 9)):
        with pytest.raises(InvalidRange):
            store.read(stored.sha256, start, end)


def test_a_short_range_unpacks_no_more_than_its_chunks(ranged, monkeypatch):
    store, stored = ranged
    unpacked = []
    monkeypatch.setattr(xorbs, "decompress", lambda scheme, data, size: unpacked.append(size) or data)
    b"".join(store.read(stored.sha256, 1_000_000, 1_000_010))
    assert len(unpacked) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 200_000)), max_size=8))
def test_the_reader_seeks_like_a_file(ranged, steps):
    store, stored = ranged
    expected = io.BytesIO(CONTENT)
    with store.open(stored.sha256) as reader:
        for position, count in steps:
            assert reader.seek(position) == expected.seek(position)
            assert reader.read(count) == expected.read(count)
        assert reader.seek(0, io.SEEK_END) == len(CONTENT)
        assert reader.read() == b""


def test_parquet_is_read_through_the_reader(store):
    table = pa.table({"row": list(range(50_000)), "text": [f"line {number}" for number in range(50_000)]})
    file = io.BytesIO()
    pq.write_table(table, file)
    stored = store.add([file.getvalue()])
    assert pq.read_table(store.open(stored.sha256), columns=["text"]).equals(table.select(["text"]))


def test_a_copy_appears_complete_or_not_at_all(lay, store, make_bytes, tmp_path):
    stored = store.add([make_bytes(2_000_000)])
    target = tmp_path / "copy"
    target.write_bytes(b"older")
    store.copy_to(stored.sha256, target)
    assert target.read_bytes() == make_bytes(2_000_000)
    with pytest.raises(UnknownContent):
        store.copy_to(NOTHING, target)
    lay.remove(store.root, stored.xorbs[0])
    with pytest.raises(StorageError, match="missing"):
        store.copy_to(stored.sha256, target)
    assert target.read_bytes() == make_bytes(2_000_000)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["copy"]


# Deduplication


def test_the_same_content_is_stored_once(store, make_bytes, xorb_bytes):
    first = store.add([make_bytes(3_000_000)])
    before = xorb_bytes(store)
    assert store.add(iter([make_bytes(3_000_000)])) == first
    assert xorb_bytes(store) == before


def test_a_changed_file_costs_only_what_changed(store, make_bytes, xorb_bytes):
    content = make_bytes(10_000_000)
    store.add([content])
    before = xorb_bytes(store)
    changed = content[:4_000_000] + b"changed" + content[4_000_000:]
    stored = store.add([changed])
    assert xorb_bytes(store) - before < 600_000
    assert read_all(store, stored.sha256) == changed


def test_a_file_that_repeats_itself_is_stored_once(store, make_bytes, xorb_bytes):
    content = make_bytes(4_000_000) * 3
    stored = store.add([content])
    assert xorb_bytes(store) < 5_000_000
    assert read_all(store, stored.sha256) == content


def test_scattered_single_chunks_do_not_tear_a_file_apart(store, make_bytes):
    """Each known chunk alone would become a term of its own; the file stays in one run instead."""
    known = [make_bytes(65_536, seed) for seed in range(40)]
    for piece in known:
        store.add([piece])
    mixed = b"".join(make_bytes(200_000, 100 + number) + piece for number, piece in enumerate(known))
    mixed += make_bytes(200_000, 99)  # a run up to the very end would be taken
    stored = store.add([mixed])
    assert len(stored.xorbs) == 1
    assert read_all(store, stored.sha256) == mixed


def test_content_of_the_xet_door_is_known_to_the_others(store, make_upload, make_bytes, xorb_bytes):
    upload = make_upload(make_bytes(3_000_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    (registered,) = store.add_shard(upload.shard, may_use=lambda xorb: True)
    before = xorb_bytes(store)
    assert store.add([upload.content + b"more"]).size == 3_000_004
    assert store.add([upload.content]) == registered
    assert xorb_bytes(store) - before < 200_000


def test_a_lost_or_damaged_index_costs_nothing_but_a_rebuild(lay, store, make_bytes, xorb_bytes):
    content = make_bytes(3_000_000)
    stored = store.add([content])
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"not a database at all" * 1000)):
        for path in store.root.glob("chunks.sqlite-*"):
            path.unlink()
        damage(store.root / "chunks.sqlite")
        opened = lay.open(store.root)
        opened.add([make_bytes(10, seed=9)])  # whatever is wrong with the index, uploads work
        before = xorb_bytes(opened)
        changed = opened.add([content + b"more"])
        assert xorb_bytes(opened) - before < 200_000
        assert read_all(opened, changed.sha256) == content + b"more"
        assert read_all(opened, stored.sha256) == content
        opened.remove_file(changed.sha256)


def test_an_upload_brings_back_what_a_backup_lost(lay, store, make_bytes):
    content = make_bytes(1_000_000)
    stored = store.add([content])
    (xorb,) = stored.xorbs
    for damage in (partial(lay.cut, store.root, xorb, 10), partial(lay.remove, store.root, xorb)):
        damage()
        store = lay.open(store.root)
        store.add([content + b"more"])
        assert read_all(store, digest(content + b"more")) == content + b"more"
        store.remove_file(digest(content + b"more"))
    with pytest.raises(StorageError, match="missing"):
        read_all(store, stored.sha256)
    assert read_all(store, store.add([content]).sha256) == content
