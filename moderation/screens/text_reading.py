"""Text as blocks of UTF-8 bytes that know where they stand: plain text, JSON, JSON lines and CSV, of any size.

The screens search bytes, because everything they look for by format is ASCII and searching bytes is several times
faster than decoding rows; a place is worked out only for what was found. Parquet has its own reader."""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from moderation.screens.findings import Finding
from moderation.screens.formats import CONTROL, UTF_BOMS

BLOCK_BYTES = 1 << 20
OVERLAP_BYTES = 1024  # a match that crosses a block's edge is found again from here
LONG_LINE_BYTES = 1 << 20
PARSED_LINE_BYTES = 64 << 10  # a longer line is located by its byte only
WINDOW_BYTES = 4096
PASSAGE_BYTES = 600  # on each side of a word that rules look around, within its line
ESCAPES = ((b"\\n", b"  "), (b"\\r", b"  "), (b"\\t", b"  "), (b'\\"', b' "'))
SHAPE = bytes(
    48 if 48 <= byte <= 57 else 65 if 65 <= byte <= 90 else 45 if byte in b" .-" else 43 if byte == 43 else 120
    for byte in range(256)
)
ESCAPED_LETTER = re.compile(rb"\\u00([2-7][0-9a-fA-F])")


@dataclass(frozen=True)
class Place:
    where: str  # "notes.md:12" or "row 12, column answer"
    column: str = ""


Locate = Callable[[bytes, int, int], Place]  # block bytes, start and end of the match in it


@dataclass
class TextBlock:
    data: bytes  # UTF-8
    locate: Locate
    fresh: int = 0  # bytes before this offset were screened with the block before
    is_again: bool = False  # the same lines a second time, with escaped letters in plain
    header: list[str] = field(default_factory=list)  # of a CSV
    rows: list[int] = field(default_factory=list)  # of a table: the row of each value, from 1
    starts: list[int] = field(default_factory=list)  # and where it begins

    def values(self) -> Iterator[tuple[int, str]]:
        """(row, value) of one column of a table."""
        ends = [start - 1 for start in self.starts[1:]] + [len(self.data)]
        for row, start, end in zip(self.rows, self.starts, ends, strict=True):
            yield row, self.data[start:end].decode("utf-8", "replace")

    @cached_property
    def searchable(self) -> bytes:
        """The data with JSON's escaped white space and quotes blanked: same length, so offsets hold."""
        data = self.data
        if b"\\" in data:
            for escape, blank in ESCAPES:
                data = data.replace(escape, blank)
        return data

    @cached_property
    def shape(self) -> bytes:
        """One byte a byte: 0 for digits, A for capitals, - for what separates groups of digits, x for the rest.
        Numbers of a known layout are fixed strings in it, which are found far faster than by a pattern."""
        return self.searchable.translate(SHAPE)

    @cached_property
    def lowered(self) -> bytes:
        return self.searchable.lower()

    def place(self, start: int, end: int) -> Place:
        return self.locate(self.data, start, end)


@dataclass
class TextReader:
    """Cuts a stream into blocks and remembers what was wrong with it; `problems()` is complete after the last block."""

    name: str
    pieces: Iterable[bytes]
    line: int = 1  # number of the first line of the block to come
    offset: int = 0  # bytes of that line already given, when one line spans blocks
    long_line: int = 0
    bad_encoding: str = ""
    zero_bytes_line: int = 0
    binary_line: int = 0
    header: list[str] = field(default_factory=list)

    @property
    def layout(self) -> str:
        suffix = PurePosixPath(self.name.lower()).suffix
        return {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}.get(suffix, "lines")

    def blocks(self) -> Iterator[TextBlock]:
        """Blocks of whole lines, about 1 MiB each; a longer line is cut, with an overlap."""
        before = b""
        for data, first_line, line_offset in self._cut():
            kept = before[-OVERLAP_BYTES:]
            lines_back = kept.count(b"\n")
            locate = self._locator(first_line - lines_back, line_offset - len(kept))
            yield TextBlock(kept + data, locate, len(kept), header=self.header)
            unescaped = ESCAPED_LETTER.sub(lambda match: bytes([int(match[1], 16)]), data) if b"\\u00" in data else data
            # Letters hidden as \u0041 are read a second time in plain; only the line of a match is known there.
            if unescaped != data:
                yield TextBlock(unescaped, self._locator(first_line, 0), is_again=True)
            before = data

    def _cut(self) -> Iterator[tuple[bytes, int, int]]:
        waiting = bytearray()
        for piece in self._decoded():
            waiting += piece
            while len(waiting) >= BLOCK_BYTES:
                end = waiting.rfind(b"\n", 0, len(waiting)) + 1
                if end == 0:
                    end = _character_edge(waiting)
                yield self._take(waiting, end)
        if waiting:
            yield self._take(waiting, len(waiting))

    def _take(self, waiting: bytearray, end: int) -> tuple[bytes, int, int]:
        data = bytes(waiting[:end])
        del waiting[:end]
        line, offset = self.line, self.offset
        if not self.header and line == 1 and offset == 0 and self.layout == "csv":
            self.header = parse_csv_line(data.split(b"\n", 1)[0], self.name)
        if not self.zero_bytes_line and b"\x00" in data:
            self.zero_bytes_line = line + data.count(b"\n", 0, data.index(b"\x00"))
        if not self.binary_line and (at := find_binary(data)) >= 0:
            self.binary_line = line + data.count(b"\n", 0, at)
        self.line += data.count(b"\n")
        self.offset = len(data) - data.rfind(b"\n") - 1 if b"\n" in data else offset + len(data)
        if not self.long_line and self.offset >= LONG_LINE_BYTES:
            self.long_line = self.line
        return data, line, offset

    def _decoded(self) -> Iterator[bytes]:
        """The stream as UTF-8. Bytes that are not are read as Latin-1, in which every byte is a letter."""
        decoder, rest, line = None, b"", 1
        for number, piece in enumerate(self.pieces):
            if number == 0:
                decoder, piece = _choose_decoder(piece)
            if decoder is not None:
                yield decoder.decode(piece).encode("utf-8", "replace")
                continue
            data, rest = _hold_back_cut_character(rest + piece)
            yield self._as_utf8(data, line)
            line += data.count(b"\n")
        if rest:
            yield self._as_utf8(rest, line)

    def _as_utf8(self, data: bytes, line: int) -> bytes:
        try:
            data.decode("utf-8")
            return data
        except UnicodeDecodeError as error:
            if not self.bad_encoding:
                where = line + data.count(b"\n", 0, error.start)
                self.bad_encoding = f"{where}:{data[error.start]:#04x}"
            return data.decode("latin-1").encode("utf-8")

    def _locator(self, first_line: int, line_offset: int) -> Locate:
        def locate(data: bytes, start: int, end: int) -> Place:
            line = first_line + data.count(b"\n", 0, start)
            line_start = data.rfind(b"\n", 0, start) + 1
            line_end = data.find(b"\n", start)
            whole = data[line_start : line_end if line_end >= 0 else len(data)]
            if len(whole) > PARSED_LINE_BYTES or (line_start == 0 and line_offset > 0):
                return Place(f"{self.name}:{line}, byte {max(line_offset, 0) + start - line_start:,}")
            return self._place(line, whole, data[start:end], start - line_start)

        return locate

    def _place(self, line: int, whole: bytes, matched: bytes, at: int) -> Place:
        if self.layout == "jsonl":
            column = find_json_column(whole, matched)
            return Place(f"row {line}, column {column}" if column else f"{self.name}:{line}", column)
        if self.layout == "csv" and self.header and line > 1:
            column = find_csv_column(whole, at, self.header, self.name)
            return Place(f"{self.name}:{line}, column {column}" if column else f"{self.name}:{line}", column)
        return Place(f"{self.name}:{line}")

    def problems(self) -> Iterator[Finding]:
        """What a reader of this file will stumble over."""
        if self.binary_line:
            what = f"{self.name} begins as text and goes on as binary content from line {self.binary_line} on"
            where = f"{self.name}:{self.binary_line}"
            message = f"{what}; save the text by itself, and the rest in a format of its own."
            yield Finding("unsafe_files", "text_and_binary", "hold", where, "control characters", message)
            return
        if self.bad_encoding:
            line, byte = self.bad_encoding.split(":")
            what = f"{self.name} is not UTF-8 from line {line} on (byte {byte}) and was read as Latin-1"
            yield _problem("encoding", f"{self.name}:{line}", byte, f"{what}; save it as UTF-8 and upload it again.")
        if self.long_line:
            what = f"Line {self.long_line} of {self.name} is longer than {LONG_LINE_BYTES:,} bytes"
            mend = "one record a line (.jsonl) is what training reads, so split it."
            yield _problem("long_line", f"{self.name}:{self.long_line}", "long line", f"{what}; {mend}")
        if self.zero_bytes_line:
            what = f"Line {self.zero_bytes_line} of {self.name} holds zero bytes"
            where = f"{self.name}:{self.zero_bytes_line}"
            yield _problem("zero_bytes", where, "zero byte", f"{what}; save it as plain UTF-8 text.")


def find_binary(data: bytes) -> int:
    """Where text ends and something else goes on: the first control character of a stretch in which one byte in fifty
    is one; -1 in text."""
    if len(data.translate(None, CONTROL)) == len(data):
        return -1
    for start in range(0, len(data), WINDOW_BYTES):
        window = data[start : start + WINDOW_BYTES]
        if len(window) - len(window.translate(None, CONTROL)) > max(len(window) // 50, 8):
            return start + next(at for at, byte in enumerate(window) if byte in CONTROL)
    return -1


def find_all(data: bytes, literal: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Offsets at which the literal begins, without overlaps."""
    stop = len(data) if end is None else end
    at = data.find(literal, start, stop)
    while at >= 0:
        yield at
        at = data.find(literal, at + len(literal), stop)


def passage_around(data: bytes, at: int) -> tuple[int, int]:
    """The line around an offset, or the part of a long one that a rule can reach."""
    first, last = max(at - PASSAGE_BYTES, 0), at + PASSAGE_BYTES
    start, end = data.rfind(b"\n", first, at) + 1, data.find(b"\n", at, last)
    return max(start, first), end if end >= 0 else min(last, len(data))


def _problem(rule: str, where: str, excerpt: str, message: str) -> Finding:
    return Finding("unsafe_files", rule, "info", where, excerpt, message)


def _choose_decoder(piece: bytes) -> tuple[codecs.IncrementalDecoder | None, bytes]:
    """A decoder for UTF-16, None for UTF-8 and single-byte text; the byte order mark is taken off."""
    if piece.startswith(UTF_BOMS[1:]):
        return codecs.getincrementaldecoder("utf-16")("replace"), piece
    if b"\x00" in piece[:64] and len(piece[:64].translate(None, CONTROL)) < len(piece[:64]):
        little = piece[1:64:2].count(0) > piece[0:64:2].count(0)
        return codecs.getincrementaldecoder("utf-16-le" if little else "utf-16-be")("replace"), piece
    return None, piece.removeprefix(UTF_BOMS[0])


def _hold_back_cut_character(data: bytes) -> tuple[bytes, bytes]:
    """Splits off the last bytes when they begin a UTF-8 character whose rest is in the next piece."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (data[:-back], data[-back:]) if needed > back else (data, b"")
        if byte < 0x80:
            break
    return data, b""


def _character_edge(data: bytearray) -> int:
    whole, _ = _hold_back_cut_character(bytes(data[-4:]))
    return len(data) - 4 + len(whole)


def find_json_column(line: bytes, matched: bytes) -> str:
    """Path of the first value (or key) of a JSON line that holds the matched bytes, such as "messages[1].content"."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    wanted = matched.decode("utf-8", "replace")
    plain = wanted.replace("\\n", "\n").replace("\\t", "\t").replace('\\"', '"').replace("\\r", "\r")
    for path, value in walk_json(row):
        if wanted in value or plain in value:
            return path
    return ""


def walk_json(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(path, text) of every leaf, at most 40 levels deep."""
    if depth > 40:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk_json(inner, f"{path}.{key}" if path else str(key), depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk_json(inner, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, str(value) if not isinstance(value, int) or value.bit_length() < 4096 else ""


def parse_csv_line(line: bytes, name: str) -> list[str]:
    delimiter = "\t" if name.lower().endswith(".tsv") else ";" if line.count(b";") > line.count(b",") else ","
    try:
        return next(csv.reader(io.StringIO(line[:65536].decode("utf-8", "replace")), delimiter=delimiter), [])
    except csv.Error:
        return []


def find_csv_column(line: bytes, at: int, header: list[str], name: str) -> str:
    """Name of the column in which byte `at` of a CSV line stands; "" when the line does not fit the header."""
    index = max(len(parse_csv_line(line[: at + 1], name)) - 1, 0)
    return header[index].strip() if index < len(header) else ""
