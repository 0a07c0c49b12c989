"""Bounds on time, size and ratio, so that no file can hold a screen for long or fill memory."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

PIECE_BYTES = 1 << 20
MAX_SINGLE_READ_BYTES = 16 << 20  # a zip directory of 10,000 entries is about 1 MiB; a tar header never near this
MAX_RATIO = 100  # bytes out for each byte in; text seldom packs better than 20 to 1
MAX_JSON_VALUES = 6_000_000  # of one file; the largest tokenizers have 2.7 million, and a value takes some 60 bytes
QUICK_JSON_VALUES, QUICK_JSON_BYTES = 1_500_000, 16 << 20  # read within a request: a quarter of a second, 150 MB
RATIO_FREE_BYTES = 16 << 20  # below this much output the ratio does not matter


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class ScreenLimit(Exception):
    """Content passed a bound; the message is the half sentence that names it."""


class OutOfTime(ScreenLimit):
    """The time budget is spent: what was not read yet is unknown, not clean."""


@dataclass
class Deadline:
    """A time budget in seconds that begins when it is made."""

    budget_s: float
    is_request: bool = False  # somebody waits, and other requests share the memory: what is larger is left to the job
    clock: Callable[[], float] = time.monotonic
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.clock()

    def left_s(self) -> float:
        return self.budget_s - (self.clock() - self.started_s)

    def check(self) -> None:
        if self.left_s() <= 0:
            raise OutOfTime(f"not finished in the {self.budget_s:g} s allowed")


def bound_json(data: bytes, deadline: Deadline) -> None:
    """Raises before a JSON text is read that would take too much: OutOfTime where the job may read it, else ScreenLimit.

    Every value but the first stands behind one of these four marks, and to count them takes milliseconds."""
    values = sum(map(data.count, (b",", b":", b"[", b"{")))
    if values > MAX_JSON_VALUES:
        raise ScreenLimit(f"it holds more than {MAX_JSON_VALUES:,} values")
    if deadline.is_request and (values > QUICK_JSON_VALUES or len(data) > QUICK_JSON_BYTES):
        raise OutOfTime("too large to be read at once")


class BoundedReader(io.RawIOBase):
    """A seekable view that refuses one huge read: archive parsers read as much as a header tells them to."""

    def __init__(self, reader: BinaryIO, size: int, deadline: Deadline) -> None:
        self.reader, self.size, self.deadline = reader, size, deadline

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.deadline.check()
        wanted = max(self.size - self.reader.tell(), 0) if size is None or size < 0 else size
        if wanted > MAX_SINGLE_READ_BYTES:
            raise ScreenLimit(f"a header asks for {wanted:,} bytes at once")
        return self.reader.read(wanted)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.reader.seek(offset, whence)

    def tell(self) -> int:
        return self.reader.tell()


@dataclass
class RatioGuard:
    """Counts what came out of a decompressor against what went in."""

    taken: int = 0
    given: int = 0

    def count(self, taken: int, given: int) -> None:
        self.taken += taken
        self.given += given
        if self.given > RATIO_FREE_BYTES and self.given > MAX_RATIO * self.taken:
            raise ScreenLimit(f"more than {MAX_RATIO} bytes unpack from each stored byte")


def read_exactly(reader: Readable, size: int) -> bytes:
    """Up to `size` bytes, fewer only at the end: raw readers may return short."""
    pieces, missing = [], size
    while missing > 0:
        piece = reader.read(min(missing, PIECE_BYTES))
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)
