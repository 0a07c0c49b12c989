"""Whole files out of chunks: streams of any range, and a seekable reader."""

import io
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

import numpy as np

from hub.storage.errors import StorageError
from hub.storage.objects import Opened
from hub.storage.records import Records
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription
from hub.storage.xet.xorbs import XorbIndex, unpack_chunks

# Large enough that the cost of a call does not show. Of 1 MiB the server held about 5 MB for each slow reader, of this 1 MB,
# at the same CPU time; and what is read to be hashed stays in the processor's cache.
PIECE_BYTES = 256 * 1024


class FileBytes:
    """Random access to the bytes of one stored file. Safe between threads: it keeps no position."""

    def __init__(self, records: Records, description: FileDescription) -> None:
        self._records = records
        self._description = description
        ends = np.cumsum(description.terms["size"], dtype=np.int64)
        self._term_ends = ends
        self.size = int(ends[-1]) if len(ends) else 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) in pieces of at most PIECE_BYTES. The caller has checked the range."""
        term = int(np.searchsorted(self._term_ends, start, side="right"))
        while start < end:
            record = self._description.terms[term]
            term_start = int(self._term_ends[term]) - int(record["size"])
            stop = min(end, int(self._term_ends[term]))
            yield from self._read_term(
                record["xorb"].tobytes(), int(record["start"]), start - term_start, stop - term_start
            )
            start = stop
            term += 1

    def digest_into(self, update: Callable[[bytes | memoryview], None]) -> None:
        """Give all bytes to `update` in order, chunk by chunk and uncopied where they are stored plain."""
        for record in self._description.terms:
            xorb_hash, chunk, end = record["xorb"].tobytes(), int(record["start"]), int(record["end"])
            try:
                with self._records.open_xorb(xorb_hash) as (xorb, index):
                    xorb.expect(*index.packed_range(chunk, end), once=True)
                    while chunk < end:
                        behind = min(end, _end_of_piece(index, chunk))
                        for raw in _unpack(xorb, index, chunk, behind):
                            update(raw)
                        chunk = behind
            except FileNotFoundError as error:
                raise _missing(xorb_hash) from error

    def _read_term(self, xorb_hash: bytes, first_chunk: int, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) of a term, counted from its first chunk."""
        try:
            with self._records.open_xorb(xorb_hash) as (xorb, index):
                base = index.raw_start(first_chunk)
                yield from _read_raw(xorb, index, base + start, base + end)
        except FileNotFoundError as error:
            raise _missing(xorb_hash) from error


class FileReader(io.RawIOBase):
    """Seekable reader over FileBytes that remembers the piece it read last."""

    def __init__(self, content: FileBytes) -> None:
        self._content = content
        self._position = 0
        self._piece = b""
        self._piece_start = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._content.size}[whence]
        if base + offset < 0:
            raise ValueError(f"Cannot seek to {base + offset}.")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        at = self._position - self._piece_start
        if not 0 <= at < len(self._piece):
            # As much as is asked for, but a good bite: headers are read in small steps.
            end = min(self._content.size, self._position + max(len(buffer), 64 * 1024))
            self._piece = next(self._content.read(self._position, end), b"")
            self._piece_start, at = self._position, 0
        part = self._piece[at : at + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def _read_raw(xorb: Opened, index: XorbIndex, start: int, end: int) -> Iterator[bytes]:
    """The raw bytes [start, end) of a xorb, in pieces of at most PIECE_BYTES."""
    chunk = bisect_right(index.raw_ends, start)
    if start < end:
        xorb.expect(*index.packed_range(chunk, min(bisect_left(index.raw_ends, end) + 1, len(index))))
    while start < end:
        # Whole chunks that together are one piece, at least one of them, and none behind the range.
        last = max(chunk + 1, min(_end_of_piece(index, chunk), bisect_left(index.raw_ends, end) + 1))
        raw = b"".join(_unpack(xorb, index, chunk, last))
        piece_start = index.raw_start(chunk)
        yield raw[start - piece_start : end - piece_start]
        start = piece_start + len(raw)
        chunk = last


def _end_of_piece(index: XorbIndex, chunk: int) -> int:
    """Behind the last of the chunks from `chunk` on that together fill one piece; at least one."""
    return max(chunk + 1, bisect_right(index.raw_ends, index.raw_start(chunk) + PIECE_BYTES))


def _unpack(xorb: Opened, index: XorbIndex, chunk: int, end: int) -> list[bytes | memoryview]:
    """The raw chunks [chunk, end). Raises StorageError if they are damaged."""
    chunks = list(unpack_chunks(xorb.read(*index.packed_range(chunk, end))))
    if sum(map(len, chunks)) != index.raw_size(chunk, end):
        raise StorageError(f"Xorb {hashes.to_hex(index.xorb_hash)} is damaged; restore it from a backup.")
    return chunks


def _missing(xorb_hash: bytes) -> StorageError:
    return StorageError(f"Xorb {hashes.to_hex(xorb_hash)} is missing; restore it from a backup.")
