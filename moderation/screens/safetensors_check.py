"""Safetensors headers read by the letter of the format, before any loader sees them.

Format: 8 bytes little-endian length, a JSON object, the data; source: https://github.com/huggingface/safetensors"""

import json
import struct
from collections.abc import Iterator
from math import prod
from typing import Any, BinaryIO

import numpy as np

from moderation.screens.findings import Finding, quote
from moderation.screens.limits import Deadline, bound_json, read_exactly

MAX_HEADER_BYTES = (
    32 << 20
)  # the format allows 100 MB; headers of the largest models have 7, and parsing takes ten times that
MAX_DIMENSIONS = 16
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
FLOATS = {"F16": "<u2", "BF16": "<u2", "F32": "<u4", "F64": "<u8", "C64": "<u4", "F8_E5M2": "u1", "F8_E4M3": "u1"}
# Of all bits but the sign, these ones are set in NaN and infinity alone. E4M3 has no infinity and one NaN.
EXPONENTS = {
    "F16": 0x7C00, "BF16": 0x7F80, "F32": 0x7F800000, "F64": 0x7FF0000000000000, "C64": 0x7F800000, "F8_E5M2": 0x7C,
    "F8_E4M3": 0x7F,
}  # fmt: skip


class BadHeader(Exception):
    """The header breaks the format; the message is the half sentence that says how."""


def read_header(reader: BinaryIO, size: int, deadline: Deadline) -> tuple[dict[str, Any], int]:
    """(header, offset of the data). Raises BadHeader and, for a header that is too much to read, ScreenLimit."""
    reader.seek(0)
    prefix = read_exactly(reader, 8)
    if len(prefix) < 8:
        raise BadHeader("it ends within its first 8 bytes")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(size - 8, MAX_HEADER_BYTES):
        raise BadHeader(f"it declares a header of {length:,} bytes in a file of {size:,}")
    data = read_exactly(reader, length)
    bound_json(data, deadline)
    try:
        header = json.loads(data, object_pairs_hook=_refuse_repeated_keys)
    except (ValueError, RecursionError) as error:
        raise BadHeader(f"its header is not JSON ({quote(str(error))[:60]})") from error
    if not isinstance(header, dict):
        raise BadHeader("its header is not a JSON object")
    _check_tensors(header, size - 8 - length)
    return header, 8 + length


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers disagree on which of two equal names wins, so two tools would load two different models.
    if len({key for key, _ in pairs}) != len(pairs):
        raise BadHeader("its header names something twice")
    return dict(pairs)


def _check_tensors(header: dict[str, Any], data_bytes: int) -> None:
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for start, stop, name in spans:
        if start != end:
            raise BadHeader(f"tensor {quote(name)[:60]} {'overlaps another' if start < end else 'leaves a gap'}")
        end = stop
    if end != data_bytes:
        raise BadHeader(f"its tensors cover {end:,} of {data_bytes:,} data bytes")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadHeader("its __metadata__ is not a table of text")


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    shown = quote(name)[:60]
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [*shape, start, stop]
        if dtype not in BITS or len(shape) > MAX_DIMENSIONS:
            raise BadHeader(f"tensor {shown} has an unknown type or too many dimensions")
        if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
            raise BadHeader(f"tensor {shown} has an impossible shape or offset")
    except (TypeError, KeyError, ValueError) as error:
        raise BadHeader(f"tensor {shown} lacks dtype, shape or data_offsets") from error
    if prod(shape) * BITS[dtype] != (stop - start) * 8:
        raise BadHeader(f"tensor {shown} does not fill its bytes")
    return start, stop, name


def check_safetensors(name: str, reader: BinaryIO, size: int, *, quick: bool, deadline: Deadline) -> Iterator[Finding]:
    """The header always; with `quick` off also every float for NaN and infinity."""
    try:
        header, offset = read_header(reader, size, deadline)
    except BadHeader as error:
        what = f"{name} is not a sound safetensors file: {error}"
        mend = "save the model again with save_pretrained(..., safe_serialization=True)."
        yield Finding("unsafe_files", "bad_safetensors", "hold", name, quote(str(error)), f"{what}; {mend}")
        return
    if quick:
        return
    for tensor, entry in header.items():
        if tensor != "__metadata__" and entry["dtype"] in FLOATS:
            start, stop = entry["data_offsets"]
            if not is_finite(reader, offset + start, stop - start, entry["dtype"], deadline):
                what = f"Tensor {quote(tensor)[:60]} of {name} holds NaN or infinity"
                yield Finding("unsafe_files", "not_finite", "hold", name, quote(tensor), f"{what}; train it again.")
                return


def is_finite(reader: BinaryIO, start: int, length: int, dtype: str, deadline: Deadline) -> bool:
    reader.seek(start)
    unit: np.dtype[Any] = np.dtype(FLOATS[dtype])
    exponent = np.array(EXPONENTS[dtype], unit)
    while length > 0:
        deadline.check()
        piece = read_exactly(reader, min(length, 1 << 20))
        if not piece:
            return True
        length -= len(piece)
        bits = np.frombuffer(piece, unit, count=len(piece) // unit.itemsize)
        # An exponent of all ones is NaN or infinity, in every IEEE format and in bfloat16.
        if bool(((bits & exponent) == exponent).any()):
            return False
    return True


def metadata_text(reader: BinaryIO, size: int, deadline: Deadline) -> str:
    """The free text of a header, for the text screens; "" when the header is unsound."""
    try:
        header, _ = read_header(reader, size, deadline)
    except BadHeader:
        return ""
    return "\n".join(f"{key}: {value}" for key, value in header.get("__metadata__", {}).items())
