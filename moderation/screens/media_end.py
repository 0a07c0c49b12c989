"""What stands behind the end of a picture or recording. What shows it stops there; what loads or unpacks goes on.

Cameras write second pictures and short films there, so that as such is nothing: it is judged by what it is. Where each
format ends: PNG (ISO/IEC 15948), GIF 89a, JPEG (ITU-T T.81), RIFF of WAV and WebP, BMP, boxes of MP4 (ISO/IEC 14496-12)."""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from moderation.screens.findings import Finding
from moderation.screens.formats import HEAD_BYTES, MEDIA, sniff
from moderation.screens.limits import PIECE_BYTES, Deadline, read_exactly
from moderation.screens.unsafe_files import POLYGLOT

HARMLESS = MEDIA | {"text", "utf16", "binary", "empty"}
JPEG_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # within the coded picture: neither an escaped byte nor a restart
END_OF_IMAGE = 0xD9


def check_behind(name: str, kind: str, reader: BinaryIO, size: int, deadline: Deadline) -> Iterator[Finding]:
    """At most one finding. Raises OutOfTime."""
    at, inner = 0, kind
    while (end := find_end(inner, Behind(reader, at), size - at, deadline)) and at + end < size:
        at += end
        reader.seek(at)
        rest = read_exactly(reader, HEAD_BYTES)
        skipped, inner = _skip_filling(rest, size - at)
        at, page = at + skipped, POLYGLOT.search(rest)
        if page or inner not in HARMLESS:
            what = "a page or program" if page else f"something else ({inner})"
            message = f"{name} ({kind}) has {what} behind its end, from byte {at:,}; save it again without it."
            yield Finding("unsafe_files", "hidden_behind", "hold", name, inner, message)
            return


def _skip_filling(rest: bytes, size: int) -> tuple[int, str]:
    """(how many zeros fill, the kind of what follows). Some kinds begin with up to four zeros of their own."""
    zeros = len(rest) - len(rest.lstrip(b"\0"))
    for skipped in range(max(zeros - 4, 0), zeros + 1):
        kind = sniff(rest[skipped:], size - skipped)
        if kind != "binary":
            return skipped, kind
    return zeros, "binary"


class Behind:
    """A file as if it began at a byte further on."""

    def __init__(self, reader: BinaryIO, start: int) -> None:
        self.reader, self.start = reader, start

    def seek(self, at: int) -> None:
        self.reader.seek(self.start + at)

    def read(self, size: int, /) -> bytes:
        return self.reader.read(size)


def find_end(kind: str, reader: Behind, size: int, deadline: Deadline) -> int | None:
    """Where the content of this kind ends, in bytes from the beginning. None where that cannot be told."""
    if kind in WALKS:
        return WALKS[kind](reader, size, deadline)
    reader.seek(2 if kind == "bmp" else 4)
    if kind not in ("bmp", "wav", "webp") or len(field := read_exactly(reader, 4)) < 4:
        return None
    length = int.from_bytes(field, "little")
    return length if kind == "bmp" else 8 + length + length % 2


def _end_of_png(reader: Behind, size: int, deadline: Deadline) -> int | None:
    at = 8
    while at < size:
        deadline.check()
        reader.seek(at)
        if len(head := read_exactly(reader, 8)) < 8:
            return None
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at
    return None


def _end_of_mp4(reader: Behind, size: int, deadline: Deadline) -> int | None:
    """Behind the last whole box whose name is one; a box of length 0 reaches to the end of the file."""
    at = 0
    while at < size:
        deadline.check()
        reader.seek(at)
        head = read_exactly(reader, 16)
        if len(head) < 8 or not re.fullmatch(rb"[\w \xa9-]{4}", head[4:8]):
            return at or None
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            return size
        if length < 8:
            return at or None
        at += length
    return None


def _end_of_gif(reader: Behind, size: int, deadline: Deadline) -> int | None:
    reader.seek(0)
    head = read_exactly(reader, 13)
    if len(head) < 13:
        return None
    at = 13 + _colours(head[10])
    while at < size:
        deadline.check()
        reader.seek(at)
        block = read_exactly(reader, 10)
        if block[:1] == b";":
            return at + 1
        if block[:1] == b"!":
            at += 2
        elif block[:1] == b"," and len(block) == 10:
            at += 11 + _colours(block[9])
        else:
            return None
        at = _behind_parts(reader, at, deadline)
    return None


def _colours(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_parts(reader: Behind, at: int, deadline: Deadline) -> int:
    """Parts of at most 255 bytes, each behind its length, up to one of none."""
    while True:
        deadline.check()
        reader.seek(at)
        window = read_exactly(reader, HEAD_BYTES)
        step = 0
        while step < len(window):
            length = window[step]
            step += 1 + length
            if not length:
                return at + step
        if not window:
            return at
        at += step


def _end_of_jpeg(reader: Behind, size: int, deadline: Deadline) -> int | None:
    at = 2
    while at + 4 <= size:
        deadline.check()
        reader.seek(at)
        head = read_exactly(reader, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        if head[1] == 0xFF:  # a filling byte
            at += 1
            continue
        if head[1] == END_OF_IMAGE:
            return at + 2
        is_scan = head[1] == 0xDA
        at += 2 + int.from_bytes(head[2:], "big")
        if is_scan:
            found = _find_mark(reader, at, deadline)
            if found is None:
                return None
            at = found
    reader.seek(at)
    return at + 2 if read_exactly(reader, 2) == bytes((0xFF, END_OF_IMAGE)) else None


def _find_mark(reader: Behind, at: int, deadline: Deadline) -> int | None:
    reader.seek(at)
    before = b""
    while piece := read_exactly(reader, PIECE_BYTES):
        deadline.check()
        window = before + piece
        if found := JPEG_MARK.search(window):
            return at - len(before) + found.start()
        at += len(piece)
        before = piece[-1:]
    return None


WALKS: dict[str, Callable[[Behind, int, Deadline], int | None]] = {
    "png": _end_of_png,
    "gif": _end_of_gif,
    "jpeg": _end_of_jpeg,
    "mp4": _end_of_mp4,
}
