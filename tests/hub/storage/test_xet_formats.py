import struct
from io import BytesIO

import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.storage.chunks import MAX_CHUNK
from hub.storage.disk import OpenFile
from hub.storage.errors import MalformedShard, MalformedXorb
from hub.storage.xet import hashes
from hub.storage.xet.compression import GROUPED_LZ4, LZ4, PLAIN, compress, decompress
from hub.storage.xet.shards import FileDescription, format_dedup_shard, format_shard, make_terms, parse_shard
from hub.storage.xet.xorbs import MAX_CHUNKS, XorbWriter, read_index, receive_xorb, unpack_chunks

# Reference values of xet-core (aggregated_hashes.rs).
A = "cfc5d07f6f03c29bbf424132963fe08d19a37d5757aaf520bf08119f05cd56d6"
B = "c3e67584b5c4fc2a89837ec39e40f2c8a6bb0b2987ac94cd4b31e5fbdd210a72"
C = "0d2beb91b9196929a5ddec9f6e306924ddf4a24268e3e59fd8464738d525af37"
D = "adf8773496a9b7319b2e50dc98093f344053b17d8ad37100b9c07d9805988784"


@pytest.mark.parametrize(
    ("chunks", "root"),
    [
        ([], "0" * 64),
        ([(A, 100)], A),
        ([(A, 100), (B, 200), (C, 300)], "71ec1275fca074724e2dd666921b3277c7cee603e4d025bcab2d4050015be2bc"),
        ([(A, 100)] * 4, "89f2ada89ff8c96763c6b25010e6dd76a4c05b1466207633ea559acf2093211b"),
        ([(A, 100), (B, 200)] * 2, "90f8313ef12df385d237a067aded02562c35ded12116e32eba401dbc86c38031"),
        (
            [(A, 100), (B, 200), (A, 100), (B, 200), (C, 300), (D, 400)],
            "52c826f99507aa05d0b45e9837fa1709e0485425cfbcb1e80db3905cf98b3ee9",
        ),
    ],
)
def test_tree_hashes_are_those_of_the_reference(chunks, root):
    assert hashes.to_hex(hashes.hash_tree((hashes.from_hex(chunk), size) for chunk, size in chunks)) == root


def test_the_file_hash_is_that_of_the_reference():
    expected = "8e16257caa3fe079d484d872a8975264b2ff683b0d6db9028cc7c0f968a45661"
    assert hashes.to_hex(hashes.hash_file(hashes.from_hex(A))) == expected


def test_hex_reverses_each_group_of_eight_bytes():
    # The example of the specification.
    text = "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"
    assert hashes.to_hex(bytes(range(32))) == text
    assert hashes.from_hex(text) == bytes(range(32))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=3000), st.integers(1, 40))
def test_what_was_compressed_comes_back(data, times):
    raw = (data * times)[:MAX_CHUNK]
    scheme, packed = compress(raw)
    assert len(packed) <= len(raw)
    assert decompress(scheme, packed, len(raw)) == raw


def test_floats_are_grouped_text_is_not_and_noise_stays_plain(make_bytes):
    floats = np.random.default_rng(1).normal(size=16_000).astype(np.float32).tobytes()
    assert compress(floats)[0] == GROUPED_LZ4
    assert compress(b"a line of text\n" * 4000)[0] == LZ4
    assert compress(make_bytes(60_000))[0] == PLAIN


@pytest.mark.parametrize(
    ("scheme", "packed", "raw_size", "reason"),
    [
        (LZ4, lz4.frame.compress(bytes(50_000_000), store_size=False), MAX_CHUNK, "more than"),
        (GROUPED_LZ4, lz4.frame.compress(bytes(50_000_000)), MAX_CHUNK, "more than"),
        (LZ4, lz4.frame.compress(bytes(100)), 101, "not exactly|promises"),
        (LZ4, lz4.frame.compress(bytes(100)) + b"more", 100, "complete LZ4 frame"),
        (LZ4, lz4.frame.compress(bytes(100))[:-4], 100, "complete LZ4 frame"),
        (LZ4, b"\x04\x22\x4d\x18" + b"garbage" * 4, 100, "broken LZ4 frame"),
        (LZ4, b"no frame at all", 100, "does not start"),
        (PLAIN, bytes(10), 11, "promises 11 bytes"),
        (3, bytes(10), 10, "scheme 3"),
    ],
)
def test_a_chunk_that_does_not_unpack_to_its_size_is_refused(scheme, packed, raw_size, reason):
    with pytest.raises(MalformedXorb, match=reason):
        decompress(scheme, packed, raw_size)


def test_a_xorb_is_received_in_pieces_and_describes_itself(make_upload, make_bytes, tmp_path):
    upload = make_upload(make_bytes(400_000) + bytes(400_000))
    pieces = [upload.xorb[start : start + 777] for start in range(0, len(upload.xorb), 777)]
    with open(tmp_path / "xorb", "w+b") as file:
        index = receive_xorb(pieces, hashes.from_hex(upload.xorb_hash), file)
        file.flush()
        assert read_index(OpenFile(file.fileno())) == index
    stored = (tmp_path / "xorb").read_bytes()
    assert stored.startswith(upload.xorb)
    start, end = index.packed_range(1, 3)
    assert list(unpack_chunks(stored[start:end])) == upload.chunks[1:3]
    # A client may send the footer, too: it is read over.
    assert receive_xorb([stored], index.xorb_hash, BytesIO()) == index


def change(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes([value]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (lambda xorb: change(xorb, 5000, xorb[5000] ^ 1), "not .* as announced"),
        (lambda xorb: xorb[:-1], "middle of a chunk"),
        (lambda xorb: xorb + b"\x00\x01", "middle of a chunk"),
        (lambda xorb: b"", "holds no chunk"),
        (lambda xorb: change(xorb, 0, 1), "version 1"),
        (lambda xorb: change(xorb, 4, 9), "scheme 9"),
        (lambda xorb: change(xorb, 7, 200), "outside the limits"),
        (lambda xorb: change(xorb, 3, 200), "packed bytes"),
        (lambda xorb: xorb + bytes([0, 1, 0, 0, 0, 1, 0, 0, 7]) * MAX_CHUNKS, "at most 8192 chunks"),
        (lambda xorb: xorb + b"XETBLOB\x01" + bytes(2_000_000), "footer"),
    ],
)
def test_a_tampered_xorb_is_refused_with_the_reason(tamper, reason, make_upload, make_bytes):
    upload = make_upload(make_bytes(50_000))
    with pytest.raises(MalformedXorb, match=reason):
        receive_xorb([tamper(upload.xorb)], hashes.from_hex(upload.xorb_hash), BytesIO())


def test_a_xorb_of_endless_bytes_is_refused_at_the_limit(make_bytes):
    chunk = bytes([0, 0, 0, 2, 0, 0, 0, 2]) + make_bytes(MAX_CHUNK)

    def endless():
        for count in range(10_000):
            assert count < 520, "reads on although the limit of 64 MiB is passed"
            yield chunk

    with pytest.raises(MalformedXorb, match="at most"):
        receive_xorb(endless(), bytes(32), BytesIO())


def test_a_shard_reads_back_as_written():
    terms = make_terms([(b"x" * 32, 0, 3, 1000), (b"y" * 32, 5, 6, 10)])
    files = [
        FileDescription(b"f" * 32, terms, b"v" * 96, "ab" * 32),
        FileDescription(b"g" * 32, make_terms([]), None, None),
    ]
    for read, written in zip(parse_shard(format_shard(files)), files, strict=True):
        assert (read.file_hash, read.verification, read.sha256) == (
            written.file_hash, written.verification, written.sha256
        )  # fmt: skip
        assert read.terms.tobytes() == written.terms.tobytes()
    assert files[0].size == 1010 and files[0].xorbs() == (b"x" * 32, b"y" * 32)


@pytest.mark.parametrize(
    "tamper",
    [
        lambda shard: shard[:-1],
        lambda shard: b"X" + shard[1:],
        lambda shard: change(shard, 32, 3),
        lambda shard: change(shard, 48 + 36, 200),
        lambda shard: b"",
        lambda shard: shard[:100] + bytes(65 * 1024 * 1024),
    ],
)
def test_a_broken_shard_is_refused(tamper, make_upload):
    with pytest.raises(MalformedShard):
        parse_shard(tamper(make_upload(b"text").shard))


def test_a_dedup_answer_has_the_footer_the_client_reads(make_bytes):
    writer = XorbWriter(BytesIO())
    chunks = [make_bytes(10_000, seed) for seed in range(3)]
    for chunk in chunks:
        writer.add(hashes.hash_chunk(chunk), chunk)
    index, key = writer.finish(), make_bytes(32)
    shard = format_dedup_shard([index], key=key, created_s=100, expires_s=200)

    _, version, footer_size = struct.unpack_from("<32sQQ", shard)
    footer = shard[-footer_size:]
    assert (version, footer_size, len(footer)) == (2, 200, 200)
    assert struct.unpack_from("<QQQ", footer) == (1, 48, 96)
    assert footer[72:104] == key
    assert struct.unpack_from("<QQ", footer, 104) == (100, 200)
    assert struct.unpack_from("<Q", footer, 192) == (len(shard) - 200,)
    # Chunk hashes appear under the key only.
    assert all(hashes.hash_chunk(chunk) not in shard for chunk in chunks)
    assert all(hashes.key_hash(hashes.hash_chunk(chunk), key) in shard for chunk in chunks)
