"""GGUF files read by the letter of the format, in bounds, before any C++ loader sees them.

Format: magic, version, counts, key-value pairs, tensor descriptions, padding, data; all little-endian.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline, read_exactly
from moderation.screens.safetensors_check import is_finite

MAX_PAIRS = 10_000
MAX_TENSORS = 200_000
MAX_KEY_BYTES = 65_535  # the format's own limit
MAX_NAME_BYTES = 64  # of a tensor; the format's own limit
MAX_STRING_BYTES = 4 << 20
MAX_ARRAY = 4 << 20  # elements; the largest vocabularies have 260,000
MAX_ARRAY_DEPTH = 2
MAX_METADATA_BYTES = 128 << 20
MAX_TEXT_BYTES = 16 << 20  # of what is handed to the text screens
MAX_ALIGNMENT = 1 << 16
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# type: (elements of a block, bytes of a block); compared with the package gguf by a test
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
FLOATS = {0: "F32", 1: "F16", 28: "F64", 30: "BF16"}
MEND = "convert the model again with a current convert_hf_to_gguf.py"


class BadGguf(Exception):
    """The file breaks the format or a bound; the message is the half sentence that says how."""


@dataclass
class Header:
    """What stands before the data. `tensors`: name -> (dimensions, type, offset from the data, bytes)."""

    values: dict[str, Any] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)  # every string and key, bounded: for the text screens
    tensors: dict[str, tuple[list[int], int, int, int]] = field(default_factory=dict)
    data_start: int = 0
    alignment: int = 32


class Cursor:
    """Reads forward, never more than stands there, and never more metadata than a bound."""

    def __init__(self, reader: BinaryIO, size: int, deadline: Deadline) -> None:
        self.reader, self.size, self.deadline, self.position = reader, size, deadline, 0
        self.buffer, self.at = b"", 0
        reader.seek(0)

    def take(self, count: int) -> bytes:
        self.position += count
        if self.position > self.size:
            raise BadGguf("it ends within its metadata")
        if self.position > MAX_METADATA_BYTES:
            raise BadGguf(f"its metadata is larger than {MAX_METADATA_BYTES >> 20} MiB")
        if self.at + count > len(self.buffer):
            self.deadline.check()
            self.buffer = self.buffer[self.at :] + read_exactly(self.reader, max(count, 1 << 20))
            self.at = 0
        data = self.buffer[self.at : self.at + count]
        self.at += count
        return data

    def number(self, letter: str) -> Any:
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def string(self, most: int = MAX_STRING_BYTES) -> str:
        length = self.number("Q")
        if length > most:
            raise BadGguf(f"it declares a text of {length:,} bytes where {most:,} are allowed")
        return self.take(length).decode("utf-8", "replace")


def read_gguf(reader: BinaryIO, size: int, deadline: Deadline) -> Header:
    """The header, checked. Raises BadGguf, or OutOfTime from the deadline."""
    cursor = Cursor(reader, size, deadline)
    if cursor.take(4) != b"GGUF":
        raise BadGguf("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in (2, 3):
        what = "is big-endian" if version in (2 << 24, 3 << 24) else f"has version {version:,}"
        raise BadGguf(f"it {what}; versions 2 and 3, little-endian, are read")
    tensors, pairs = cursor.number("Q"), cursor.number("Q")
    if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
        raise BadGguf(f"it declares {tensors:,} tensors and {pairs:,} values")
    header = Header()
    _read_pairs(cursor, header, pairs)
    _read_tensors(cursor, header, tensors)
    header.data_start = -(-cursor.position // header.alignment) * header.alignment
    _check_places(header, size)
    return header


def _read_pairs(cursor: Cursor, header: Header, pairs: int) -> None:
    room = [MAX_TEXT_BYTES]

    def keep(text: str) -> None:
        room[0] -= len(text)
        if room[0] >= 0:
            header.text.append(text)

    for _ in range(pairs):
        key = cursor.string(MAX_KEY_BYTES)
        if key in header.values:
            raise BadGguf(f"it names {quote(key)[:60]} twice")
        keep(key)
        header.values[key] = _read_value(cursor, cursor.number("I"), keep, 0)
    alignment = header.values.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise BadGguf(f"its alignment {str(alignment)[:20]} is not a power of two from 8 to {MAX_ALIGNMENT:,}")
    # The later parts of a split model say no architecture.
    if not isinstance(header.values.get("general.architecture", ""), str):
        raise BadGguf("its architecture is not a text")
    header.alignment = alignment


def _read_value(cursor: Cursor, kind: int, keep: Callable[[str], None], depth: int) -> Any:
    """The value; None for arrays, whose texts only go to `keep`."""
    if kind == STRING:
        text = cursor.string()
        keep(text)
        return text
    if kind == ARRAY:
        inner, count = cursor.number("I"), cursor.number("Q")
        if count > MAX_ARRAY or depth >= MAX_ARRAY_DEPTH:
            raise BadGguf(f"it declares an array of {count:,} elements or too many arrays in each other")
        if inner in SCALARS:
            _skip(cursor, count * struct.calcsize("<" + SCALARS[inner]))
        else:
            for _ in range(count):
                _read_value(cursor, inner, keep, depth + 1)
        return None
    if kind not in SCALARS:
        raise BadGguf(f"it holds a value of the unknown type {kind:,}")
    return cursor.number(SCALARS[kind])


def _skip(cursor: Cursor, count: int) -> None:
    while count > 0:
        count -= len(cursor.take(min(count, 1 << 20)))


def _read_tensors(cursor: Cursor, header: Header, tensors: int) -> None:
    for _ in range(tensors):
        name = cursor.string(MAX_NAME_BYTES)
        shown = quote(name)[:60]
        if name in header.tensors:
            raise BadGguf(f"it names the tensor {shown} twice")
        count = cursor.number("I")
        if not 1 <= count <= 4:
            raise BadGguf(f"tensor {shown} has {count:,} dimensions")
        shape = [cursor.number("Q") for _ in range(count)]
        kind, offset = cursor.number("I"), cursor.number("Q")
        if kind not in BLOCKS:
            raise BadGguf(f"tensor {shown} has the unknown type {kind:,}")
        per_block, block_bytes = BLOCKS[kind]
        if not all(0 < length < 2**48 for length in shape) or prod(shape) >= 2**48 or shape[0] % per_block:
            raise BadGguf(f"tensor {shown} has an impossible shape")
        if offset % header.alignment:
            raise BadGguf(f"tensor {shown} does not stand at a multiple of the alignment")
        header.tensors[name] = shape, kind, offset, prod(shape) // per_block * block_bytes


def _check_places(header: Header, size: int) -> None:
    """The tensors fill the data in turn, with nothing between them but the padding, and nothing behind."""
    end = 0
    for offset, count, name in sorted((offset, count, name) for name, (*_, offset, count) in header.tensors.items()):
        expected = -(-end // header.alignment) * header.alignment
        if offset != expected:
            how = "overlaps another" if offset < expected else "leaves a gap"
            raise BadGguf(f"tensor {quote(name)[:60]} {how}")
        end = offset + count
    data_bytes = size - header.data_start if header.tensors else 0
    if end > data_bytes:
        raise BadGguf(f"its tensors need {end:,} of {max(data_bytes, 0):,} data bytes")
    last = header.data_start + end
    if size - last >= header.alignment:
        raise BadGguf(f"{size - last:,} bytes stand behind its last tensor")


def check_gguf(name: str, header: Header, reader: BinaryIO, *, quick: bool, deadline: Deadline) -> Iterator[Finding]:
    """Findings about the numbers of a file whose header is sound; with `quick` off every plain float is looked at."""
    if quick:
        return
    for tensor, (_, kind, offset, count) in header.tensors.items():
        if kind in FLOATS and not is_finite(reader, header.data_start + offset, count, FLOATS[kind], deadline):
            what = f"Tensor {quote(tensor)[:60]} of {name} holds NaN or infinity"
            yield Finding("unsafe_files", "not_finite", "hold", name, quote(tensor), f"{what}; train it again.")
            return


def templates_of(header: Header) -> Iterator[tuple[str, str]]:
    """(key, text) of each chat template: the default one and the named ones beside it."""
    for key, value in header.values.items():
        if key.startswith("tokenizer.chat_template") and isinstance(value, str):
            yield key, value


def bad_gguf_finding(name: str, error: BadGguf) -> Finding:
    what = f"{name} is not a sound GGUF file: {error}"
    return Finding("unsafe_files", "bad_gguf", "hold", name, quote(str(error)), f"{what}; {MEND}.")
