"""What stands behind the end of a picture or recording. What shows it stops there; what loads or unpacks goes on.

Cameras write second pictures, short films and tables of their own there, so that as such is nothing: what directly follows
the end, or what only fills behind it, is judged by what it is. What hides behind other bytes of no known kind is not looked
for, nor what stands in files within archives. Where each format ends: PNG (ISO/IEC 15948), GIF 89a, JPEG (ITU-T T.81), RIFF
of WAV and WebP, boxes of MP4 (ISO/IEC 14496-12); a BMP is known by its whole length. Broken files end where decoders would stop."""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from moderation.screens.findings import Finding
from moderation.screens.formats import HEAD_BYTES, MEDIA, sniff
from moderation.screens.limits import PIECE_BYTES, Deadline, read_exactly
from moderation.screens.pickles import is_old_pickle
from moderation.screens.unsafe_files import POLYGLOT, media_problem

VAGUE = {"text", "utf16", "binary", "empty"}
HARMLESS = MEDIA | VAGUE
FILLING = b"\0\xff"  # what pads a block, and what an erased one holds
MOST_OWN_FILLING = 4  # bytes like these with which a kind may begin
JPEG_MARK = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # within the coded picture: neither an escaped byte nor a restart
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
WITHOUT_LENGTH = {0x00, 0x01, *range(0xD0, 0xD9)}
PARTS_BYTES = 1 << 10  # of a GIF, read at a time: most of its blocks are short


def check_behind(name: str, kind: str, reader: BinaryIO, size: int, deadline: Deadline) -> Iterator[Finding]:
    """At most one finding. Raises OutOfTime."""
    at, inner = 0, kind
    while (end := find_end(inner, Behind(reader, at), size - at, deadline)) and at + end < size:
        at = _skip_filling(reader, at + end, size, deadline)
        if at >= size:
            return
        skipped, inner, rest = _tell(reader, at, size)
        at += skipped
        if problem := _problem(inner, rest):
            message = f"{name} ({kind}) has {problem} behind its end, from byte {at:,}; save it again without it."
            yield Finding("unsafe_files", "hidden_behind", "hold", name, inner, message)
            return


def _problem(kind: str, rest: bytes) -> str:
    """What it is, as half a sentence; empty where it is harmless."""
    if POLYGLOT.search(rest) or rest.startswith(b"#!"):
        return "a page or program"
    if kind == "pdf" and media_problem(kind, rest):
        return "a document that acts when it is opened"
    return "" if kind in HARMLESS else f"something else ({kind})"


def _skip_filling(reader: BinaryIO, at: int, size: int, deadline: Deadline) -> int:
    """Of a file, the byte behind `at` at which filling ends, less what a kind may begin with."""
    first = at
    while at < size:
        deadline.check()
        reader.seek(at)
        window = read_exactly(reader, HEAD_BYTES)
        if kept := window.lstrip(FILLING):
            return max(first, at + len(window) - len(kept) - MOST_OWN_FILLING)
        if not window:
            return size
        at += len(window)
    return size


def _tell(reader: BinaryIO, at: int, size: int) -> tuple[int, str, bytes]:
    """(bytes that still fill, the kind of what follows, its first bytes)."""
    reader.seek(at)
    rest = read_exactly(reader, HEAD_BYTES)
    filling = len(rest) - len(rest.lstrip(FILLING))
    for skipped in range(filling, max(filling - MOST_OWN_FILLING, 0) - 1, -1):
        head = rest[skipped:]
        kind = sniff(head, size - at - skipped)
        if kind in HARMLESS and is_old_pickle(head):
            kind = "pickle"
        is_filling = kind == "arrow" and head[:1] == b"\xff"  # four bytes of it look like the start of a table
        if kind not in VAGUE and not is_filling:
            return skipped, kind, head
    return filling, "binary", rest[filling:]


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
    deadline.check()
    if kind in WALKS:
        return WALKS[kind](reader, size, deadline)
    if kind not in ("wav", "webp"):
        return None
    reader.seek(4)
    length = int.from_bytes(read_exactly(reader, 4), "little")
    return 8 + length + length % 2


def _end_of_png(reader: Behind, size: int, deadline: Deadline) -> int | None:
    at = 8
    while at < size:
        deadline.check()
        reader.seek(at)
        head = read_exactly(reader, 8)
        if len(head) < 8:
            return None
        if not re.fullmatch(rb"[A-Za-z]{4}", head[4:]):
            return at
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
        if length < 8 or length > size - at:  # no box, or a cut one
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
            return at
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
        window = read_exactly(reader, PARTS_BYTES)
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
    at: int | None = 2
    while at is not None and at + 2 <= size:
        deadline.check()
        reader.seek(at)
        head = read_exactly(reader, 4)
        if len(head) < 2:
            return None
        if head[:1] != b"\xff":  # decoders go on at the next mark
            at = _find_mark(reader, at, deadline)
        elif head[1] == END_OF_IMAGE:
            return at + 2
        elif head[1] == 0xFF:  # a filling byte
            at += 1
        elif head[1] in WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + max(int.from_bytes(head[2:], "big"), 2)
            if head[1] == START_OF_SCAN:
                at = _find_mark(reader, at, deadline)
    return None


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
