"""pkt-lines, side bands and compressed bodies: the grammar of git over HTTP.

Source: https://git-scm.com/docs/gitprotocol-common and https://git-scm.com/docs/gitprotocol-pack"""

import zlib
from collections.abc import Iterator
from typing import Protocol

from hub.storage.errors import InvalidOperation

FLUSH = b"0000"
MAX_PACKET_BYTES = 65520
MAX_BAND_BYTES = MAX_PACKET_BYTES - 5
PIECE_BYTES = 256 * 1024
DATA_BAND = 1
PROGRESS_BAND = 2


class Readable(Protocol):
    """A request's body: `read(n)` gives at most n bytes, none at the end."""

    def read(self, size: int, /) -> bytes: ...


class GzipBody:
    """A body that the client compressed (Content-Encoding: gzip), read in bounded pieces."""

    def __init__(self, body: Readable) -> None:
        self._body = body
        self._decoder = zlib.decompressobj(wbits=31)

    def read(self, size: int, /) -> bytes:
        """Raises InvalidOperation when the body is no gzip stream or ends early."""
        while not self._decoder.eof:
            given = self._decoder.unconsumed_tail or self._body.read(PIECE_BYTES)
            piece = self._decode(given, size)
            if piece:
                return piece
            if not given:
                raise InvalidOperation("The compressed request ended early; push or fetch again.")
        return b""

    def _decode(self, given: bytes, size: int) -> bytes:
        try:
            return self._decoder.decompress(given, max(1, size))
        except zlib.error:
            raise InvalidOperation("The request says it is gzip but is not; push or fetch again.") from None


def read_exactly(body: Readable, size: int) -> bytes:
    pieces, missing = [], size
    while missing:
        piece = body.read(missing)
        if not piece:
            raise InvalidOperation("The request ended in the middle of a line; push or fetch again.")
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def read_packet(body: Readable) -> bytes | None:
    """The next line without its length, None at a flush. Raises InvalidOperation for what is no pkt-line."""
    prefix = read_exactly(body, 4)
    try:
        length = int(prefix, 16)
    except ValueError:
        length = -1
    if length == 0:
        return None
    if not 4 <= length <= MAX_PACKET_BYTES:
        raise InvalidOperation("The request is not in git's line format; use a git client.")
    return read_exactly(body, length - 4)


def read_packets(body: Readable, *, limit: int) -> Iterator[bytes]:
    """Lines up to the next flush. Raises InvalidOperation after `limit` lines."""
    for _ in range(limit + 1):
        packet = read_packet(body)
        if packet is None:
            return
        yield packet
    raise InvalidOperation(f"A push may change at most {limit} references; push in smaller steps.")


def format_packet(data: bytes) -> bytes:
    return b"%04x%s" % (len(data) + 4, data)


def format_band(band: int, data: bytes) -> bytes:
    """`data` on one band of side-band-64k, in as many packets as it takes."""
    starts = range(0, len(data), MAX_BAND_BYTES)
    return b"".join(format_packet(bytes([band]) + data[start : start + MAX_BAND_BYTES]) for start in starts)


def drain(body: Readable, *, limit_bytes: int) -> None:
    """Read on to nowhere: a client hears an answer only after it has sent its body."""
    taken = 0
    while taken <= limit_bytes:
        piece = body.read(PIECE_BYTES)
        if not piece:
            return
        taken += len(piece)
