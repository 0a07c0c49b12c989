"""One chunk as it stands in a xorb: plain, LZ4, or four byte groups and LZ4, whichever is smaller.

Byte grouping puts the first bytes of all 4-byte groups together, then the second ones, and so on: the exponents of
float32 numbers become neighbours, which LZ4 can use.
Source: https://huggingface.co/docs/xet/xorb
"""

import lz4.frame
import numpy as np

from hub.storage.errors import MalformedXorb

PLAIN, LZ4, GROUPED_LZ4 = 0, 1, 2

_SAMPLE_BYTES = 8 * 1024  # enough to tell numbers from text, at a tenth of the cost of reading the whole chunk
_GROUPING_GAIN = 0.02  # divergence from which grouping pays; xet-core's constant, fitted on many models there
_LZ4_FRAME = (0x184D2204).to_bytes(4, "little")


def compress(raw: bytes) -> tuple[int, bytes]:
    """(scheme, data), never longer than the raw bytes."""
    scheme = GROUPED_LZ4 if _gains_by_grouping(raw) else LZ4
    data = _compress_lz4(_group(raw) if scheme == GROUPED_LZ4 else raw)
    return (scheme, data) if len(data) < len(raw) else (PLAIN, raw)


def decompress(scheme: int, data: bytes | memoryview, raw_size: int) -> bytes | memoryview:
    """The `raw_size` bytes of a chunk, `data` itself where it is plain. Never makes more than that: a bomb is refused, not unpacked.

    Raises MalformedXorb for an unknown scheme and for data that does not give exactly `raw_size` bytes."""
    if scheme == PLAIN:
        raw: bytes | memoryview = data
    elif scheme == LZ4:
        raw = _decompress_lz4(data, raw_size)
    elif scheme == GROUPED_LZ4:
        raw = _ungroup(_decompress_lz4(data, raw_size))
    else:
        raise MalformedXorb(f"A chunk names compression scheme {scheme}; known are 0 (none), 1 (LZ4) and 2 (BG4-LZ4).")
    if len(raw) != raw_size:
        raise MalformedXorb(f"A chunk promises {raw_size} bytes but holds {len(raw)}.")
    return raw


def _compress_lz4(raw: bytes) -> bytes:
    # One block, no size field: the plainest frame, which every decoder reads.
    block_size = lz4.frame.BLOCKSIZE_MAX256KB
    packed: bytes = lz4.frame.compress(raw, block_size=block_size, block_linked=False, store_size=False)
    return packed


def _decompress_lz4(data: bytes | memoryview, raw_size: int) -> bytes:
    if data[:4] != _LZ4_FRAME:
        raise MalformedXorb("A chunk says LZ4 but does not start with an LZ4 frame.")
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        raw: bytes = decoder.decompress(data, max_length=raw_size)
        surplus: bytes = b"" if decoder.eof else decoder.decompress(b"", max_length=1)
    except (RuntimeError, EOFError) as error:
        raise MalformedXorb(f"A chunk holds a broken LZ4 frame ({error}).") from error
    if surplus:
        raise MalformedXorb(f"A chunk unpacks to more than the {raw_size} bytes it promises.")
    if not decoder.eof or decoder.unused_data:
        raise MalformedXorb("A chunk is not exactly one complete LZ4 frame.")
    return raw


def _gains_by_grouping(raw: bytes) -> bool:
    """Whether the four byte positions differ enough in their number of one-bits: the predictor of xet-core
    (largest Kullback-Leibler divergence of a position from all together), on a sample."""
    ones = np.bitwise_count(np.frombuffer(raw[:_SAMPLE_BYTES], dtype=np.uint8))
    if len(ones) < 4:
        return False
    counts = np.stack([np.bincount(ones[position::4], minlength=9) for position in range(4)])
    share = counts / counts.sum(axis=1, keepdims=True)
    together = counts.sum(axis=0) + 1  # no empty class, or the logarithm fails
    terms = share * np.log(np.maximum(share, 1e-12) / (together / together.sum()))
    return bool(terms.sum(axis=1).max() > _GROUPING_GAIN)


def _group(raw: bytes) -> bytes:
    array = np.frombuffer(raw, dtype=np.uint8)
    return b"".join(array[position::4].tobytes() for position in range(4))


def _ungroup(grouped: bytes) -> bytes:
    array = np.frombuffer(grouped, dtype=np.uint8)
    raw = np.empty_like(array)
    start = 0
    for position in range(4):
        lane = raw[position::4]
        lane[:] = array[start : start + len(lane)]
        start += len(lane)
    return raw.tobytes()
