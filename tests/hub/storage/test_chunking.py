import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.storage.chunks import _GEAR, MAX_CHUNK, MIN_CHUNK, Chunker


def cut_slowly(data: bytes) -> list[bytes]:
    """The rule of the specification, byte by byte."""
    gear = [int(number) for number in _GEAR]
    chunks, start, rolling = [], 0, 0
    for position, byte in enumerate(data):
        rolling = ((rolling << 1) + gear[byte]) & 0xFFFFFFFFFFFFFFFF
        size = position + 1 - start
        if size >= MIN_CHUNK and (size >= MAX_CHUNK or rolling & 0xFFFF000000000000 == 0):
            chunks.append(data[start : position + 1])
            start, rolling = position + 1, 0
    return chunks + ([data[start:]] if start < len(data) else [])


def cut(*pieces: bytes) -> list[bytes]:
    return list(Chunker().cut(pieces))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(0, 400_000), values=st.sampled_from([1, 2, 7, 256]))
def test_cut_points_are_those_of_the_specification(seed, size, values):
    data = np.random.default_rng(seed).integers(0, values, size, dtype=np.uint8).tobytes()
    assert cut(data) == cut_slowly(data)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 300_000), max_size=12),
    tiny=st.lists(st.integers(0, 80), max_size=40),
)
def test_the_sizes_of_the_pieces_do_not_matter(seed, sizes, tiny):
    data = np.random.default_rng(seed).integers(0, 256, sum(sizes) + sum(tiny), dtype=np.uint8).tobytes()
    ends = np.cumsum([0, *sizes, *tiny])
    pieces = [data[start:end] for start, end in zip(ends, ends[1:], strict=False)]
    assert cut(*pieces) == cut(data)


@pytest.mark.parametrize("around", [MIN_CHUNK, MAX_CHUNK, 512 * 1024, 1024 * 1024])
def test_sizes_around_the_limits_keep_every_byte(around, make_bytes):
    for size in (around - 1, around, around + 1):
        for data in (bytes(size), make_bytes(size)):
            chunks = cut(data)
            assert b"".join(chunks) == data
            assert all(MIN_CHUNK <= len(chunk) <= MAX_CHUNK for chunk in chunks[:-1])
            assert len(chunks[-1]) <= MAX_CHUNK


def test_an_insertion_moves_only_the_chunks_around_it(make_bytes):
    data = make_bytes(4_000_000)
    before, after = set(cut(data)), set(cut(data[:2_000_000] + b"inserted" + data[2_000_000:]))
    assert len(before - after) <= 3 and len(before) > 40


def test_nothing_gives_no_chunk():
    assert cut() == cut(b"", b"") == []
