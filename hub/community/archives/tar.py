"""The tar of an archive: plain files with short names, one after the other, and nothing else.

Written so that every tar reads it. Read by accept-list and as a stream: links, folders, devices, long names and extensions
are refused before anything looks at them, and no path is ever made of a name."""

import re
import tarfile
from collections.abc import Iterator
from typing import Protocol

from hub.common.errors import InvalidInput

BLOCK = 512
PIECE_BYTES = 1024 * 1024
MAX_PADDING_BLOCKS = 1024  # of zeros behind the last member; tar itself writes up to 20
OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
PLAIN_FILE = (b"0", b"\0")


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def format_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(format=tarfile.GNU_FORMAT)  # a plain header; sizes above 8 GiB as all tars write them today


def padding(size: int) -> bytes:
    return b"\0" * (-size % BLOCK)


def size_with_header(size: int) -> int:
    return BLOCK + size + -size % BLOCK


END = b"\0" * (2 * BLOCK)


class TarReader:
    """Members in their order. Whoever asks for the next one has read the one before to its end."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._has_begun = False

    def next_member(self) -> tuple[str, int] | None:
        """Name and size in bytes; None at the end, behind which nothing but zeros may stand. Raises InvalidInput."""
        header = self._read_exactly(BLOCK) if self._has_begun else self._read_first_header()
        if not header.strip(b"\0"):
            self._expect_zeros()
            return None
        return parse_header(header)

    def read_member(self, size: int) -> Iterator[bytes]:
        """The content in pieces of at most 1 MiB."""
        left = size
        while left:
            piece = self._read_exactly(min(PIECE_BYTES, left))
            left -= len(piece)
            yield piece
        if self._read_exactly(len(padding(size))).strip(b"\0"):
            raise InvalidInput("The archive is damaged: bytes stand behind the end of a file; export it again.")

    def _read_first_header(self) -> bytes:
        self._has_begun = True
        header = b""
        while len(header) < BLOCK and (piece := self._stream.read(BLOCK - len(header))):
            header += piece
        if len(header) < BLOCK:
            raise InvalidInput("This is no archive of a repository; choose a file that an export has written.")
        return header

    def _read_exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = self._stream.read(count)
            if not piece:
                raise InvalidInput("The archive ends early; it did not arrive whole, so send or copy it again.")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _expect_zeros(self) -> None:
        for _ in range(MAX_PADDING_BLOCKS):
            piece = self._stream.read(BLOCK)
            if not piece:
                return
            if piece.strip(b"\0"):
                break
        raise InvalidInput("The archive goes on behind its end; it was put together by something else than a hub.")


def parse_header(header: bytes) -> tuple[str, int]:
    """Raises InvalidInput for everything but a plain file with a short name."""
    sum_told = OCTAL.fullmatch(header[148:156])
    if sum_told is None or int(sum_told[1], 8) != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
        raise InvalidInput("This is no archive of a repository, or it is damaged: a header does not add up.")
    name = header[:100].rstrip(b"\0")
    if header[156:157] not in PLAIN_FILE or header[157:257].strip(b"\0") or header[345:500].strip(b"\0"):
        raise InvalidInput(
            f"The archive holds {name[:60]!r}, which is a link, a folder or something else than a plain file; "
            "archives of repositories hold plain files only."
        )
    return name.decode("ascii", errors="replace"), parse_size(header[124:136])


def parse_size(field: bytes) -> int:
    if field[0] == 0x80:  # big numbers, big endian
        return int.from_bytes(field[1:], "big")
    match = OCTAL.fullmatch(field)
    if match is None:
        raise InvalidInput("The archive is damaged: the size of a file is no number.")
    return int(match[1], 8)
