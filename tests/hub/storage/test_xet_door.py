"""What the Xet door hands to the store: xorbs, shards, download plans and deduplication queries."""

import hashlib
import io
import json

import numpy as np
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
)
from hub.storage.xet import hashes, reconstruction
from hub.storage.xet.reconstruction import Parts, as_version_1, as_version_2, plan_download
from hub.storage.xet.shards import FileDescription, format_shard, make_terms, parse_shard
from hub.storage.xet.xorbs import XorbWriter, unpack_chunks

NOTHING = "0" * 64
CONTENT = np.random.default_rng(5).integers(0, 256, 2_500_000, dtype=np.uint8).tobytes() + bytes(600_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_all(store: BlobStore, sha256: str) -> bytes:
    return b"".join(store.read(sha256))


def anything(xorb_hash: str) -> bool:
    return True


def nothing(xorb_hash: str) -> bool:
    return False


def make_url(xorb_hash: str, parts: Parts) -> str:
    return f"{xorb_hash}/" + ",".join(f"{start}-{end}" for start, end in parts)


def fetch_range(store: BlobStore, plan: dict, length: int) -> bytes:
    """What a client makes of a download plan: fetch, unpack, pick the chunks, cut."""
    result = b""
    for term in plan["terms"]:
        wanted = term["range"]
        fetch = next(
            info for info in plan["fetch_info"][term["hash"]]
            if info["range"]["start"] <= wanted["start"] and wanted["end"] <= info["range"]["end"]
        )  # fmt: skip
        assert fetch["url"] == f"{term['hash']}/{fetch['url_range']['start']}-{fetch['url_range']['end'] + 1}"
        start, end = fetch["url_range"]["start"], fetch["url_range"]["end"] + 1
        packed = b"".join(store.read_xorb(term["hash"], start, end))
        assert len(packed) == end - start and end <= store.xorb_size(term["hash"])
        chunks = list(unpack_chunks(packed))
        raw = b"".join(chunks[wanted["start"] - fetch["range"]["start"] : wanted["end"] - fetch["range"]["start"]])
        assert len(raw) == term["unpacked_length"]
        result += raw
    return result[plan["offset_into_first_range"] :][:length]


@pytest.fixture(scope="module")
def shared(lay, tmp_path_factory):
    """A store that holds CONTENT, for tests that try many inputs."""
    store = lay.open(tmp_path_factory.mktemp("shared"))
    return store, store.add([CONTENT])


# Uploads


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


def test_a_refused_xorb_leaves_nothing(lay, store, make_upload, make_bytes):
    upload = make_upload(make_bytes(100_000))
    for name in (NOTHING, "../../../escape", upload.xorb_hash.upper()):
        with pytest.raises(MalformedXorb):
            store.add_xorb(name, [upload.xorb])
    assert not lay.list(store.root, "xorbs") and not list(store.root.glob("incoming/*"))


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


SHARD_CONTENT = np.random.default_rng(6).integers(0, 256, 60_000, dtype=np.uint8).tobytes()


a_change = st.tuples(st.integers(0, 10**6), st.integers(0, 255))


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(a_change, min_size=1, max_size=6), cut=st.integers())
def test_no_shard_however_broken_gets_past_the_checks(shared, make_upload, changes, cut):
    store, _ = shared
    upload = make_upload(SHARD_CONTENT)
    store.add_xorb(upload.xorb_hash, [upload.xorb])
    shard = bytearray(upload.shard)
    for position, value in changes:
        shard[position % len(shard)] = value
    try:
        registered = store.add_shard(bytes(shard[: cut % (2 * len(shard))]), may_use=anything)
    except StorageError:
        return
    assert [stored.sha256 for stored in registered] in ([], [digest(SHARD_CONTENT)])


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(a_change, min_size=1, max_size=6), cut=st.integers())
def test_no_xorb_however_broken_gets_past_the_checks(shared, make_upload, changes, cut):
    store, _ = shared
    upload = make_upload(bytes(range(250)) * 400 + SHARD_CONTENT[:20_000])
    xorb = bytearray(upload.xorb)
    for position, value in changes:
        xorb[position % len(xorb)] = value
    xorb = xorb[: cut % (2 * len(xorb))]
    try:
        store.add_xorb(upload.xorb_hash, [bytes(xorb)])
    except MalformedXorb:
        return
    # Some bytes of an LZ4 frame do not matter; what is stored unpacks to the right chunks all the same.
    stored = b"".join(store.read_xorb(upload.xorb_hash, 0, store.xorb_size(upload.xorb_hash)))
    assert list(unpack_chunks(stored[: stored.index(b"XETBLOB")])) == upload.chunks


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
    file = io.BytesIO()
    writer = XorbWriter(file)
    for value in range(200):
        writer.add(hashes.hash_chunk(bytes([value])), bytes([value]))
    index = writer.finish()
    store.add_xorb(hashes.to_hex(index.xorb_hash), [file.getvalue()])
    proof = hashes.hash_range(index.chunk_hashes) + bytes(16)
    terms = make_terms([(index.xorb_hash, 0, 200, 200)] * 1000)
    shard = format_shard([FileDescription(b"f" * 32, terms, proof * 1000, "ab" * 32)])
    with pytest.raises(MalformedShard, match="shorter than 8192"):
        store.add_shard(shard, may_use=anything)


# Download plans


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, len(CONTENT) - 1), length=st.integers(1, len(CONTENT)))
def test_any_range_can_be_planned_and_fetched(shared, start, length):
    store, stored = shared
    plan = as_version_1(store.plan(stored.xet_hash, start, start + length), make_url)
    assert fetch_range(store, json.loads(json.dumps(plan)), length) == CONTENT[start : start + length]


def test_a_plan_outside_the_file_is_refused(shared):
    store, stored = shared
    for start, end in ((len(CONTENT), None), (-1, 5), (7, 7)):
        with pytest.raises(InvalidRange):
            store.plan(stored.xet_hash, start, end)


def test_a_download_plan_names_only_chunks_of_the_file(store, make_bytes):
    """A xorb shared with another file: its other chunks stay out of every range."""
    first, second = make_bytes(3_000_000), make_bytes(2_000_000, seed=1)
    (xorb,) = store.add([first]).xorbs
    stored = store.add([first[1_000_000:2_500_000] + second])
    plan = as_version_1(store.plan(stored.xet_hash), make_url)
    assert fetch_range(store, plan, stored.size) == first[1_000_000:2_500_000] + second
    fetched = sum(info["url_range"]["end"] + 1 - info["url_range"]["start"] for info in plan["fetch_info"][xorb])
    assert fetched < 1_600_000


def test_version_2_names_all_stretches_of_a_xorb_in_one_address_and_few_in_each(store, make_bytes, monkeypatch):
    """A file of every second chunk of a xorb: stretches apart from each other."""
    monkeypatch.setattr(reconstruction, "MAX_PARTS_PER_URL", 8)
    (index,) = store.plan(store.add([make_bytes(3_000_000)]).xet_hash).indexes.values()
    terms = [(index.xorb_hash, at, at + 1, index.raw_size(at, at + 1)) for at in range(0, len(index), 2)]
    plan = plan_download(
        FileDescription(hashes.EMPTY, make_terms(terms), None, NOTHING), 0, None, index_of=lambda _: index
    )
    old, new = as_version_1(plan, make_url), as_version_2(plan, make_url)
    assert (new["terms"], new["offset_into_first_range"]) == (old["terms"], old["offset_into_first_range"])
    assert any(len(pieces) > 8 for pieces in old["fetch_info"].values())
    for xorb, pieces in old["fetch_info"].items():
        told = [(one["chunks"], one["bytes"]) for entry in new["xorbs"][xorb] for one in entry["ranges"]]
        assert told == [(piece["range"], piece["url_range"]) for piece in pieces]
        for entry in new["xorbs"][xorb]:
            assert len(entry["ranges"]) <= 8
            parts = [(one["bytes"]["start"], one["bytes"]["end"] + 1) for one in entry["ranges"]]
            assert entry["url"] == make_url(xorb, parts)


def test_a_plan_for_an_empty_file_is_empty(store):
    stored = store.add([])
    plan = store.plan(stored.xet_hash)
    assert as_version_1(plan, make_url) == {"offset_into_first_range": 0, "terms": [], "fetch_info": {}}
    assert as_version_2(plan, make_url) == {"offset_into_first_range": 0, "terms": [], "xorbs": {}}


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


def test_the_key_changes_with_the_weeks_and_with_the_store(lay, tmp_path, make_bytes):
    week_s = 7 * 24 * 3600

    def key(store: BlobStore, now: float) -> bytes:
        chunk = hashes.to_hex(hashes.hash_chunk(b"a chunk"))
        answer = store.dedup_shard(chunk, may_tell=anything, now=now)
        assert int.from_bytes(answer[-88:-80], "little") > now + week_s  # expires
        return answer[-128:-96]

    stores = [lay.open(tmp_path / name) for name in "ab"]
    for store in stores:
        store.add([b"a chunk"])
    assert key(stores[0], 0) == key(lay.open(stores[0].root), week_s - 1)
    assert len({key(stores[0], 0), key(stores[0], week_s), key(stores[1], 0)}) == 3
    assert (stores[0].root / "dedup.key").stat().st_mode & 0o077 == 0
