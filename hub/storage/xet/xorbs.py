"""Xorbs: up to 64 MiB of chunks in one file.

    chunks      [version 0][packed size, 3 bytes][scheme][raw size, 3 bytes][data] ...
    footer      hashes and ends of the chunks, as the specification lays it out; clients may leave it away, we always
                write our own, so that a stored xorb describes itself and ranges are found without reading the data

Source: https://huggingface.co/docs/xet/xorb
"""

import secrets
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from hub.storage.chunks import MAX_CHUNK
from hub.storage.errors import MalformedXorb, StorageError
from hub.storage.objects import Opened
from hub.storage.xet import hashes
from hub.storage.xet.compression import compress, decompress

MAX_CHUNKS = 8192
MAX_RAW_BYTES = 64 * 1024 * 1024  # of the xorbs we make, like the reference client
# A client counts raw bytes: 64 MiB that do not compress are stored with 8 bytes more for each chunk.
MAX_PACKED_BYTES = MAX_RAW_BYTES + MAX_CHUNKS * 8
_MAX_FOOTER_BYTES = 1024 * 1024

_CHUNK_HEADER = struct.Struct("<B3sB3s")
_FOOTER_START = b"XETBLOB\x01"
_HASHES_START = b"XBLBHSH\x00"
_ENDS_START = b"XBLBBND\x01"
_FIXED_TAIL = struct.Struct("<III16sI")  # chunks, offsets from the end of both sections, spare, length of the footer


@dataclass(frozen=True)
class XorbIndex:
    """What a xorb holds, without the data."""

    xorb_hash: bytes
    chunk_hashes: bytes  # 32 bytes for each chunk
    packed_ends: Sequence[int]  # offset in the file behind each chunk; packed numbers, since many indexes are kept
    raw_ends: Sequence[int]  # the same, counted in raw bytes

    def __len__(self) -> int:
        return len(self.packed_ends)

    def hash_at(self, position: int) -> bytes:
        return self.chunk_hashes[32 * position : 32 * position + 32]

    def packed_range(self, start: int, end: int) -> tuple[int, int]:
        """Byte range in the file of the chunks [start, end)."""
        return (self.packed_ends[start - 1] if start else 0), self.packed_ends[end - 1]

    def raw_start(self, position: int) -> int:
        return self.raw_ends[position - 1] if position else 0

    def raw_size(self, start: int, end: int) -> int:
        """Raw bytes of the chunks [start, end)."""
        return self.raw_ends[end - 1] - self.raw_start(start)


class _IndexBuilder:
    """The index of a xorb that grows chunk by chunk."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self._tree = hashes.MerkleTree()
        self._packed_ends: list[int] = []
        self._raw_ends: list[int] = []

    def add(self, chunk_hash: bytes, packed_size: int, raw_size: int) -> None:
        self._tree.add(chunk_hash, raw_size)
        self.hashes.append(chunk_hash)
        self._packed_ends.append(self.packed_bytes() + _CHUNK_HEADER.size + packed_size)
        self._raw_ends.append(self.raw_bytes() + raw_size)

    def packed_bytes(self) -> int:
        return self._packed_ends[-1] if self._packed_ends else 0

    def raw_bytes(self) -> int:
        return self._raw_ends[-1] if self._raw_ends else 0

    def finish(self) -> XorbIndex:
        packed_ends, raw_ends = array("I", self._packed_ends), array("I", self._raw_ends)
        return XorbIndex(self._tree.root(), b"".join(self.hashes), packed_ends, raw_ends)


class XorbWriter:
    """Writes a xorb to an open file, chunk by chunk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._builder = _IndexBuilder()

    def __len__(self) -> int:
        return len(self._builder.hashes)

    def hash_at(self, position: int) -> bytes:
        return self._builder.hashes[position]

    def has_room(self, raw_size: int) -> bool:
        return len(self) < MAX_CHUNKS and self._builder.raw_bytes() + raw_size <= MAX_RAW_BYTES

    def add(self, chunk_hash: bytes, raw: bytes) -> None:
        scheme, data = compress(raw)
        self._file.write(_CHUNK_HEADER.pack(0, len(data).to_bytes(3, "little"), scheme, len(raw).to_bytes(3, "little")))
        self._file.write(data)
        self._builder.add(chunk_hash, len(data), len(raw))

    def finish(self) -> XorbIndex:
        """Write the footer and return the index. The file stays open."""
        index = self._builder.finish()
        self._file.write(_format_footer(index))
        return index


class Target(Protocol):
    """What a xorb is written to: an empty file."""

    def write(self, piece: bytes | memoryview, /) -> int: ...

    def seek(self, position: int, /) -> int: ...

    def truncate(self) -> int: ...


def receive_xorb(pieces: Iterable[bytes], xorb_hash: bytes, file: Target) -> XorbIndex:
    """Copy a xorb that a client sends into the empty `file`, unpacking and hashing every chunk on the way; the footer is
    our own.

    Memory stays at a few pieces. Raises MalformedXorb, also when the chunks do not give `xorb_hash`."""
    builder = _IndexBuilder()
    for scheme, data, raw_size in _split_chunks(_pass_on(pieces, file)):
        if len(builder.hashes) == MAX_CHUNKS:
            raise MalformedXorb(f"A xorb holds at most {MAX_CHUNKS} chunks; send the rest in another one.")
        builder.add(hashes.hash_chunk(decompress(scheme, data, raw_size)), len(data), raw_size)
    if not builder.hashes:
        raise MalformedXorb("The xorb holds no chunk.")
    index = builder.finish()
    if index.xorb_hash != xorb_hash:
        raise MalformedXorb(
            f"The chunks give xorb {hashes.to_hex(index.xorb_hash)}, not {hashes.to_hex(xorb_hash)} as announced."
        )
    file.seek(builder.packed_bytes())
    file.truncate()
    file.write(_format_footer(index))
    return index


def _pass_on(pieces: Iterable[bytes], file: Target) -> Iterator[bytes]:
    """The pieces, each written as it came: chunks are kept packed as they were sent."""
    for piece in pieces:
        file.write(piece)
        yield piece


def read_index(xorb: Opened) -> XorbIndex:
    """Index of a stored xorb. Raises StorageError if it is damaged."""
    size = xorb.size
    tail = xorb.read(max(0, size - _FIXED_TAIL.size), size)
    if len(tail) < _FIXED_TAIL.size:
        raise StorageError("A stored xorb is cut short; restore it from a backup.")
    count, _, _, _, footer_bytes = _FIXED_TAIL.unpack(tail)
    footer = xorb.read(max(0, size - 4 - footer_bytes), size - 4)
    index = _parse_footer(footer, count)
    if index is None or index.packed_ends[-1] != size - 4 - footer_bytes:
        raise StorageError("A stored xorb has a damaged footer; restore it from a backup.")
    return index


def mask_chunks(index: XorbIndex, shown: Iterable[tuple[int, int]]) -> XorbIndex:
    """The index with random hashes for all chunks outside the ranges `shown`, and with their sizes evened out: where
    content is cut says something about it, too."""
    is_shown = [False] * len(index)
    for start, end in shown:
        is_shown[start:end] = [True] * (min(end, len(index)) - start)
    chunk_hashes = b"".join(
        index.hash_at(at) if is_shown[at] else secrets.token_bytes(hashes.HASH_BYTES) for at in range(len(index))
    )
    raw_ends = list(index.raw_ends)
    at = 0
    while at < len(index):
        behind = at + 1
        if not is_shown[at]:
            while behind < len(index) and not is_shown[behind]:
                behind += 1
            start, size = index.raw_start(at), index.raw_size(at, behind)
            raw_ends[at:behind] = [start + size * step // (behind - at) for step in range(1, behind - at + 1)]
        at = behind
    return replace(index, chunk_hashes=chunk_hashes, raw_ends=array("I", raw_ends))


def unpack_chunks(packed: bytes) -> Iterator[bytes | memoryview]:
    """Raw chunks of a run of packed chunks, as read from a stored xorb; what is stored plain is not copied."""
    for scheme, data, raw_size in _split_chunks((packed,)):
        yield decompress(scheme, data, raw_size)


def _split_chunks(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes | memoryview, int]]:
    """(scheme, data, raw size) of each chunk; stops at a footer, which is read and dropped."""
    source = _Source(pieces)
    while header := source.take(_CHUNK_HEADER.size, or_end=True):
        if header == _FOOTER_START:
            source.drop_rest(_MAX_FOOTER_BYTES)
            return
        version, packed, scheme, raw = _CHUNK_HEADER.unpack(header)
        packed_size, raw_size = int.from_bytes(packed, "little"), int.from_bytes(raw, "little")
        if version != 0:
            raise MalformedXorb(f"A chunk has format version {version}; only version 0 is known.")
        if not 0 < raw_size <= MAX_CHUNK:
            raise MalformedXorb(f"A chunk of {raw_size} bytes is outside the limits (1 to {MAX_CHUNK}).")
        if packed_size > 2 * MAX_CHUNK:
            raise MalformedXorb(f"A chunk of {packed_size} packed bytes exceeds the limit of {2 * MAX_CHUNK}.")
        yield scheme, source.take(packed_size), raw_size


class _Source:
    """Exact reads over pieces of any size, at most MAX_PACKED_BYTES in all."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")
        self._used = 0
        self._taken = 0

    def take(self, count: int, *, or_end: bool = False) -> bytes | memoryview:
        """`count` bytes, as a view where they lie in one piece; with `or_end` also none, if the input ends here."""
        self._taken += count
        if self._taken > MAX_PACKED_BYTES + _CHUNK_HEADER.size:
            raise MalformedXorb(f"A xorb holds at most {MAX_PACKED_BYTES} bytes; send the rest in another one.")
        parts: list[memoryview] = []
        missing = count
        while missing:
            if self._used == len(self._piece):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece, self._used = memoryview(piece), 0
                continue
            part = self._piece[self._used : self._used + missing]
            self._used += len(part)
            missing -= len(part)
            parts.append(part)
        if missing and not (or_end and missing == count):
            raise MalformedXorb("The xorb ends in the middle of a chunk; send it again.")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drop_rest(self, limit: int) -> None:
        dropped = len(self._piece) - self._used
        for piece in self._pieces:
            dropped += len(piece)
            if dropped > limit:
                break
        if dropped > limit:
            raise MalformedXorb(f"The footer of the xorb is longer than {limit} bytes.")


def _format_footer(index: XorbIndex) -> bytes:
    count = struct.pack("<I", len(index))
    chunk_hashes = _HASHES_START + count + index.chunk_hashes
    ends = _ENDS_START + count + struct.pack(f"<{2 * len(index)}I", *index.packed_ends, *index.raw_ends)
    fixed = _FIXED_TAIL.size - 4  # the last number does not count itself
    body = _FOOTER_START + index.xorb_hash + chunk_hashes + ends
    return body + _FIXED_TAIL.pack(
        len(index), len(chunk_hashes) + len(ends) + fixed, len(ends) + fixed, bytes(16), len(body) + fixed
    )


def _parse_footer(footer: bytes, count: int) -> XorbIndex | None:
    hashes_at = len(_FOOTER_START) + 32 + len(_HASHES_START) + 4
    ends_at = hashes_at + 32 * count + len(_ENDS_START) + 4
    if not count or not footer.startswith(_FOOTER_START) or len(footer) != ends_at + 8 * count + _FIXED_TAIL.size - 4:
        return None
    ends = array("I", footer[ends_at : ends_at + 8 * count])
    if sys.byteorder == "big":
        ends.byteswap()
    return XorbIndex(footer[8:40], footer[hashes_at : hashes_at + 32 * count], ends[:count], ends[count:])
