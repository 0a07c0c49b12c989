"""Packed streams, unpacked piece by piece under a bound on ratio and time; nothing is ever written out."""

import bz2
import importlib
import io
import lzma
import zlib
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from moderation.screens.limits import MAX_SINGLE_READ_BYTES, PIECE_BYTES, Deadline, RatioGuard, ScreenLimit

LZMA_MEMORY_BYTES = 128 << 20


def read_pieces(reader: BinaryIO, deadline: Deadline) -> Iterator[bytes]:
    """The reader's bytes from the start, 1 MiB at most at once. Raises OutOfTime between pieces."""
    reader.seek(0)
    while piece := reader.read(PIECE_BYTES):
        deadline.check()
        yield piece


def unpack(kind: str, reader: BinaryIO, deadline: Deadline) -> Iterator[bytes]:
    """What a gzip, bzip2, xz, zlib, zstd or lz4 file holds, concatenated members included. Raises ScreenLimit for
    bombs and broken streams."""
    guard = RatioGuard()
    try:
        if kind in ("zstd", "lz4"):
            yield from _unpack_by_arrow(kind, reader, deadline, guard)
        else:
            yield from _unpack_by_standard_library(kind, reader, deadline, guard)
    except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        raise ScreenLimit(f"its {kind} stream is broken") from error


def _new_unpacker(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(wbits=31)
    if kind == "zlib":
        return zlib.decompressobj()
    return bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(memlimit=LZMA_MEMORY_BYTES)


def _unpack_by_standard_library(kind: str, reader: BinaryIO, deadline: Deadline, guard: RatioGuard) -> Iterator[bytes]:
    unpacker = _new_unpacker(kind)
    for packed in read_pieces(reader, deadline):
        guard.count(len(packed), 0)
        while packed:
            if unpacker.eof:
                if not packed.strip(b"\0"):
                    break  # padding after the last member
                unpacker = _new_unpacker(kind)
            packed = yield from _drain(unpacker, packed, deadline, guard)
    if not unpacker.eof:
        raise ScreenLimit(f"its {kind} stream ends too early")


def _drain(unpacker: Any, packed: bytes, deadline: Deadline, guard: RatioGuard) -> Generator[bytes, None, bytes]:
    """Yields all that the input unpacks to, 1 MiB at most at once; returns what stands behind the stream's end."""
    while True:
        piece: bytes = unpacker.decompress(packed, PIECE_BYTES)
        deadline.check()
        guard.count(0, len(piece))
        if piece:
            yield piece
        if unpacker.eof:
            return bytes(unpacker.unused_data)
        # zlib hands unread input back; bz2 and lzma keep it inside and go on with an empty one.
        packed = getattr(unpacker, "unconsumed_tail", b"")
        if not packed and getattr(unpacker, "needs_input", len(piece) < PIECE_BYTES):
            return b""


def _unpack_by_arrow(kind: str, reader: BinaryIO, deadline: Deadline, guard: RatioGuard) -> Iterator[bytes]:
    arrow: Any = importlib.import_module("pyarrow")
    reader.seek(0)
    counted = CountingReader(reader, guard)
    with arrow.CompressedInputStream(arrow.PythonFile(counted, mode="r"), kind) as stream:
        while piece := stream.read(PIECE_BYTES):
            deadline.check()
            guard.count(0, len(piece))
            yield bytes(piece)


class CountingReader(io.RawIOBase):
    """Tells the ratio guard how much packed input was taken."""

    def __init__(self, reader: BinaryIO, guard: RatioGuard) -> None:
        self.reader, self.guard = reader, guard

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.reader.read(size if 0 <= size <= PIECE_BYTES else PIECE_BYTES)
        self.guard.count(len(data), 0)
        return data


class ForwardReader(io.RawIOBase):
    """A stream of pieces as a file that only goes forward, as tar needs it, and refuses one huge read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.buffer, self.position = pieces, b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def read(self, size: int = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_SINGLE_READ_BYTES:
            raise ScreenLimit(f"a header asks for {size:,} bytes at once")
        pieces, missing = [], size
        while missing > 0:
            if not self.buffer:
                self.buffer = next(self.pieces, b"")
                if not self.buffer:
                    break
            pieces.append(self.buffer[:missing])
            self.buffer = self.buffer[missing:]
            missing -= len(pieces[-1])
        data = b"".join(pieces)
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self.position:
            raise ScreenLimit("its parts do not stand in order")
        while self.position < offset:
            if not self.read(min(offset - self.position, PIECE_BYTES)):
                break
        return self.position
