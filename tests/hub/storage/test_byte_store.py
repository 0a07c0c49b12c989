import hashlib
import io
import json

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
    MalformedShard,
    MalformedXorb,
    NotOwned,
    StorageError,
    TooLarge,
    UnknownContent,
)
from hub.storage.xet import hashes
from hub.storage.xet.shards import parse_shard

NOTHING = "0" * 64


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_all(store: BlobStore, sha256: str) -> bytes:
    return b"".join(store.read(sha256))


def anything(xorb_hash: str) -> bool:
    return True


def nothing(xorb_hash: str) -> bool:
    return False


def xorb_bytes(store: BlobStore) -> int:
    return sum(path.stat().st_size for path in store.root.glob("xorbs/*/*/*"))


def make_url(*parts: object) -> str:
    return "/".join(map(str, parts))


def fetch_range(store: BlobStore, plan: dict, length: int) -> bytes:
    """What a client makes of a download plan: fetch, unpack, pick the chunks, cut."""
    from hub.storage.xet.xorbs import unpack_chunks

    result = b""
    for term in plan["terms"]:
        wanted = term["range"]
        fetch = next(
            info for info in plan["fetch_info"][term["hash"]]
            if info["range"]["start"] <= wanted["start"] and wanted["end"] <= info["range"]["end"]
        )  # fmt: skip
        assert fetch["url"] == f"{term['hash']}/{fetch['url_range']['start']}/{fetch['url_range']['end'] + 1}"
        packed = store.xorb_path(term["hash"]).read_bytes()[fetch["url_range"]["start"] : fetch["url_range"]["end"] + 1]
        chunks = list(unpack_chunks(packed))
        raw = b"".join(chunks[wanted["start"] - fetch["range"]["start"] : wanted["end"] - fetch["range"]["start"]])
        assert len(raw) == term["unpacked_length"]
        result += raw
    return result[plan["offset_into_first_range"] :][:length]


# Files


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 131072, 131073, 3_000_000])
def test_a_file_comes_back_as_it_was_added(store, make_bytes, size):
    content = make_bytes(size)
    stored = store.add([content], expected_sha256=digest(content), expected_size=size)
    assert (stored.sha256, stored.size) == (digest(content), size)
    assert store.find(stored.sha256) == store.find_by_xet(stored.xet_hash) == stored
    assert read_all(store, stored.sha256) == content
    assert all(len(piece) <= 1024 * 1024 for piece in store.read(stored.sha256))


def test_a_store_opened_again_knows_its_files(store, make_bytes):
    stored = store.add([make_bytes(100_000)])
    assert BlobStore(store.root).find(stored.sha256) == stored


def test_what_is_not_stored_is_not_found(store):
    assert store.find(NOTHING) is store.find_by_xet(NOTHING) is store.xorb_path(NOTHING) is None
    assert store.find("../../secret") is store.xorb_path("../../secret") is None
    with pytest.raises(UnknownContent):
        store.read(NOTHING)
    with pytest.raises(UnknownContent):
        store.open(NOTHING)
    with pytest.raises(UnknownContent):
        store.reconstruction(NOTHING, 0, None, url_for=str)


@pytest.mark.parametrize(
    "announced", [{"expected_sha256": NOTHING}, {"expected_size": 99_999}, {"expected_size": 100_001}]
)
def test_a_file_that_is_not_what_was_announced_is_refused_and_leaves_nothing(store, make_bytes, announced):
    content = make_bytes(100_000)
    with pytest.raises(DigestMismatch):
        store.add([content], **announced)
    assert store.find(digest(content)) is None
    assert not [path for path in store.root.rglob("*") if path.is_file() and path.name != "sweep.lock"
                and "chunks.sqlite" not in path.name]  # fmt: skip


def test_a_file_above_the_limit_is_refused(tmp_path, make_bytes):
    with pytest.raises(TooLarge, match="at most 50000 bytes"):
        BlobStore(tmp_path, max_file_bytes=50_000).add([make_bytes(50_001)])


def test_a_body_that_breaks_off_leaves_nothing(store, make_bytes):
    def pieces():
        yield make_bytes(2_000_000)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.add(pieces())
    assert not list(store.root.glob("incoming/*")) and not list(store.root.glob("files/*"))


CONTENT = np.random.default_rng(5).integers(0, 256, 2_500_000, dtype=np.uint8).tobytes() + bytes(600_000)


@pytest.fixture(scope="module")
def ranged(tmp_path_factory):
    store = BlobStore(tmp_path_factory.mktemp("ranged"))
    return store, store.add([CONTENT])


@settings(max_examples=80, deadline=None)
@given(start=st.integers(0, len(CONTENT)), length=st.integers(0, len(CONTENT)))
def test_any_range_reads_right(ranged, start, length):
    store, stored = ranged
    assert b"".join(store.read(stored.sha256, start, start + length)) == CONTENT[start : start + length]


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, len(CONTENT) - 1), length=st.integers(1, len(CONTENT)))
def test_any_range_can_be_planned_and_fetched(ranged, start, length):
    store, stored = ranged
    plan = store.reconstruction(stored.xet_hash, start, start + length, url_for=make_url)
    assert fetch_range(store, json.loads(json.dumps(plan)), length) == CONTENT[start : start + length]


def test_ranges_outside_the_file_are_refused_at_once(ranged):
    store, stored = ranged
    for start, end in ((-1, 5), (len(CONTENT) + 1, None), (10, 9)):
        with pytest.raises(InvalidRange):
            store.read(stored.sha256, start, end)
    for start, end in ((len(CONTENT), None), (-1, 5), (7, 7)):
        with pytest.raises(InvalidRange):
            store.reconstruction(stored.xet_hash, start, end, url_for=str)


def test_a_short_range_unpacks_no_more_than_its_chunks(ranged, monkeypatch):
    store, stored = ranged
    from hub.storage.xet import xorbs

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


def test_a_copy_appears_complete_or_not_at_all(store, make_bytes, tmp_path, monkeypatch):
    stored = store.add([make_bytes(2_000_000)])
    target = tmp_path / "copy"
    target.write_bytes(b"older")
    store.copy_to(stored.sha256, target)
    assert target.read_bytes() == make_bytes(2_000_000)
    with pytest.raises(UnknownContent):
        store.copy_to(NOTHING, target)
    store.xorb_path(stored.xorbs[0]).unlink()
    with pytest.raises(StorageError, match="missing"):
        store.copy_to(stored.sha256, target)
    assert target.read_bytes() == make_bytes(2_000_000)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["copy"]


# Deduplication


def test_the_same_content_is_stored_once(store, make_bytes):
    first = store.add([make_bytes(3_000_000)])
    before = xorb_bytes(store)
    assert store.add(iter([make_bytes(3_000_000)])) == first
    assert xorb_bytes(store) == before


def test_a_changed_file_costs_only_what_changed(store, make_bytes):
    content = make_bytes(10_000_000)
    store.add([content])
    before = xorb_bytes(store)
    changed = content[:4_000_000] + b"changed" + content[4_000_000:]
    stored = store.add([changed])
    assert xorb_bytes(store) - before < 600_000
    assert read_all(store, stored.sha256) == changed


def test_a_file_that_repeats_itself_is_stored_once(store, make_bytes):
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


def test_content_of_the_xet_door_is_known_to_the_others(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(3_000_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    (registered,) = store.add_shard(upload.shard, may_use=anything)
    before = xorb_bytes(store)
    assert store.add([upload.content + b"more"]).size == 3_000_004
    assert store.add([upload.content]) == registered
    assert xorb_bytes(store) - before < 200_000


def test_a_lost_or_damaged_index_costs_nothing_but_a_rebuild(store, make_bytes):
    content = make_bytes(3_000_000)
    stored = store.add([content])
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"not a database at all" * 1000)):
        for path in store.root.glob("chunks.sqlite-*"):
            path.unlink()
        damage(store.root / "chunks.sqlite")
        opened = BlobStore(store.root)
        opened.add([make_bytes(10, seed=9)])  # whatever is wrong with the index, uploads work
        before = xorb_bytes(opened)
        changed = opened.add([content + b"more"])
        assert xorb_bytes(opened) - before < 200_000
        assert read_all(opened, changed.sha256) == content + b"more"
        assert read_all(opened, stored.sha256) == content
        opened.remove_file(changed.sha256)


# The Xet door


def test_a_client_upload_is_registered_and_readable(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(1_000_000))
    assert store.add_xorb(upload.xorb_hash, [upload.xorb]) is True
    assert store.add_xorb(upload.xorb_hash, [upload.xorb]) is False
    (stored,) = store.add_shard(upload.shard, may_use=anything)
    assert stored == store.find(upload.sha256)
    assert stored.xorbs == (upload.xorb_hash,)
    assert read_all(store, upload.sha256) == upload.content
    assert store.add_shard(upload.shard, may_use=anything) == [stored]


def test_a_known_xorb_is_checked_again_since_sending_it_is_the_proof_of_holding_it(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    with pytest.raises(MalformedXorb):
        store.add_xorb(upload.xorb_hash, [upload.xorb[:-5]])


def test_a_refused_xorb_leaves_nothing(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    for name in (NOTHING, "../../../escape", upload.xorb_hash.upper()):
        with pytest.raises(MalformedXorb):
            store.add_xorb(name, [upload.xorb])
    assert not list(store.root.glob("xorbs/*")) and not list(store.root.glob("incoming/*"))


def lie_about(**changes):
    def change(upload):
        for name, value in changes.items():
            setattr(upload, name, value(getattr(upload, name)))

    return change


def one_term(**changes):
    def change(terms):
        xorb, start, end, size = terms[0]
        term = {"xorb": xorb, "start": start, "end": end, "size": size}
        term.update({name: value(term[name]) for name, value in changes.items()})
        return [(term["xorb"], term["start"], term["end"], term["size"])]

    return change


@pytest.mark.parametrize(
    ("lie", "error", "reason"),
    [
        (lie_about(sha256=lambda _: "ab" * 32), DigestMismatch, "have SHA-256"),
        (lie_about(file_hash=lambda _: b"f" * 32), MalformedShard, "another file hash"),
        (lie_about(verification=lambda _: [b"v" * 32]), MalformedShard, "verification hash that does not fit"),
        (lie_about(verification=lambda _: None), MalformedShard, "without verification hashes"),
        (lie_about(terms=one_term(size=lambda size: size + 1)), MalformedShard, "states 1000001 bytes"),
        (lie_about(terms=one_term(end=lambda end: end + 1)), MalformedShard, "uses the chunks"),
        (lie_about(terms=one_term(end=lambda _: 0)), MalformedShard, "uses the chunks"),
        (lie_about(terms=one_term(start=lambda _: 1 << 31)), MalformedShard, "uses the chunks"),
        (lie_about(terms=one_term(xorb=lambda _: b"x" * 32)), MalformedShard, "is not here"),
    ],
)
def test_a_shard_that_lies_is_refused_with_the_reason(store, make_upload, make_bytes, lie, error, reason):
    upload = make_upload(make_bytes(1_000_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    lie(upload)
    with pytest.raises(error, match=reason):
        store.add_shard(upload.shard, may_use=anything)
    assert store.find(digest(upload.content)) is None
    assert store.find_by_xet(hashes.to_hex(upload.file_hash)) is None


def test_a_known_file_with_another_stated_sha256_is_refused(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    store.add([upload.content])
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    upload.sha256 = "ab" * 32
    with pytest.raises(DigestMismatch):
        store.add_shard(upload.shard, may_use=anything)
    assert store.find("ab" * 32) is None


def test_a_file_without_stated_sha256_gets_the_real_one(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    upload.sha256 = None
    assert store.add_shard(upload.shard, may_use=anything)[0].sha256 == digest(upload.content)


def test_chunks_of_others_need_the_proof_of_knowing_them(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(1_000_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    proof, upload.verification = upload.verification, [b"guess" + bytes(27)]
    with pytest.raises(NotOwned) as guessed:
        store.add_shard(upload.shard, may_use=nothing)
    upload.verification = proof
    (stored,) = store.add_shard(upload.shard, may_use=nothing)
    assert stored.sha256 == upload.sha256

    # What is not here is refused in the same words, so a guess tells nothing.
    other = make_upload(make_bytes(1_000_000, seed=1))
    with pytest.raises(NotOwned) as absent:
        store.add_shard(other.shard, may_use=nothing)

    def strip(error, of):
        return str(error.value).replace(of.xorb_hash, "").replace(hashes.to_hex(of.file_hash), "")

    assert strip(guessed, upload) == strip(absent, other)


def test_a_shard_above_the_quota_is_refused_before_any_work(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    with pytest.raises(TooLarge, match="hold 100000 bytes; only 99999"):
        store.add_shard(upload.shard, may_use=anything, max_total_bytes=99_999)


def test_one_byte_chunks_cannot_multiply_the_work(store):
    from hub.storage.xet.xorbs import XorbWriter

    file = io.BytesIO()
    writer = XorbWriter(file)
    for value in range(200):
        writer.add(hashes.hash_chunk(bytes([value])), bytes([value]))
    index = writer.finish()
    store.add_xorb(hashes.to_hex(index.xorb_hash), [file.getvalue()])
    from hub.storage.xet.shards import FileDescription, format_shard, make_terms

    proof = hashes.hash_range(index.chunk_hashes) + bytes(16)
    terms = make_terms([(index.xorb_hash, 0, 200, 200)] * 1000)
    shard = format_shard([FileDescription(b"f" * 32, terms, proof * 1000, "ab" * 32)])
    with pytest.raises(MalformedShard, match="shorter than 8192"):
        store.add_shard(shard, may_use=anything)


def test_a_download_plan_names_only_chunks_of_the_file(store, make_bytes):
    """A xorb shared with another file: its other chunks stay out of every range."""
    first, second = make_bytes(3_000_000), make_bytes(2_000_000, seed=1)
    (xorb,) = store.add([first]).xorbs
    stored = store.add([first[1_000_000:2_500_000] + second])
    plan = store.reconstruction(stored.xet_hash, 0, None, url_for=make_url)
    assert fetch_range(store, plan, stored.size) == first[1_000_000:2_500_000] + second
    fetched = sum(info["url_range"]["end"] + 1 - info["url_range"]["start"] for info in plan["fetch_info"][xorb])
    assert fetched < 1_600_000


def test_a_plan_for_an_empty_file_is_empty(store):
    stored = store.add([])
    plan = store.reconstruction(stored.xet_hash, 0, None, url_for=str)
    assert plan == {"offset_into_first_range": 0, "terms": [], "fetch_info": {}}


# Deduplication queries


def test_a_query_is_answered_only_about_what_may_be_told(store, make_upload, make_bytes):
    upload = make_upload(make_bytes(1_000_000))
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    chunk = hashes.to_hex(hashes.hash_chunk(upload.chunks[3]))
    asked = []
    assert store.dedup_shard(chunk, may_tell=lambda xorb: asked.append(xorb) or False) is None
    assert asked == [upload.xorb_hash]
    answer = store.dedup_shard(chunk, may_tell=anything)
    assert answer is not None and parse_shard(answer) == [] and hashes.from_hex(upload.xorb_hash) in answer
    assert all(hashes.hash_chunk(known) not in answer for known in upload.chunks)
    assert store.dedup_shard(NOTHING, may_tell=anything) is store.dedup_shard("not a hash", may_tell=anything) is None


def test_own_data_is_found_even_if_others_stored_it_first(store, make_upload, make_bytes):
    shared = make_bytes(1_000_000)
    for upload in (private := make_upload(shared), own := make_upload(shared + make_bytes(200_000, seed=1))):
        store.add_xorb(upload.xorb_hash, [upload.xorb])
    chunk = hashes.to_hex(hashes.hash_chunk(own.chunks[0]))
    answer = store.dedup_shard(chunk, may_tell=lambda xorb: xorb == own.xorb_hash)
    assert hashes.from_hex(own.xorb_hash) in answer and hashes.from_hex(private.xorb_hash) not in answer


def test_an_answer_tells_of_xorbs_that_arrived_beside_it_as_far_as_they_may_be_told(store, make_upload, make_bytes):
    uploads = [make_upload(make_bytes(200_000, seed)) for seed in range(3)]
    for upload in uploads:
        store.add_xorb(upload.xorb_hash, [upload.xorb])
    told = {uploads[0].xorb_hash, uploads[1].xorb_hash}
    chunk = hashes.to_hex(hashes.hash_chunk(uploads[1].chunks[0]))
    answer = store.dedup_shard(chunk, may_tell=told.__contains__)
    assert [hashes.from_hex(upload.xorb_hash) in answer for upload in uploads] == [True, True, False]


def test_the_key_changes_with_the_weeks_and_with_the_store(tmp_path, make_bytes):
    week_s = 7 * 24 * 3600

    def key(store: BlobStore, now: float) -> bytes:
        chunk = hashes.to_hex(hashes.hash_chunk(b"a chunk"))
        answer = store.dedup_shard(chunk, may_tell=anything, now=now)
        assert int.from_bytes(answer[-88:-80], "little") > now + week_s  # expires
        return answer[-128:-96]

    stores = [BlobStore(tmp_path / name) for name in "ab"]
    for store in stores:
        store.add([b"a chunk"])
    assert key(stores[0], 0) == key(BlobStore(stores[0].root), week_s - 1)
    assert len({key(stores[0], 0), key(stores[0], week_s), key(stores[1], 0)}) == 3
    assert (stores[0].root / "dedup.key").stat().st_mode & 0o077 == 0
