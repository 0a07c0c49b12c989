"""The header of a safetensors file: names, types and shapes of its tensors.

    [length of the header, 8 bytes, little-endian][JSON][data]

Source: https://huggingface.co/docs/safetensors"""

import io
import json
from math import prod
from typing import Any, BinaryIO

from hub.storage.errors import MalformedSafetensors

MAX_HEADER_BYTES = 25_000_000  # the limit of the stock client
_MAX_DIMENSIONS = 64
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64, "I64": 64, "I32": 32, "I16": 16, "I8": 8,
    "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip


def read_header(reader: BinaryIO) -> dict[str, Any]:
    """The header, checked against itself and the size of the file: {tensor: {dtype, shape, data_offsets}}, and
    "__metadata__" (strings to strings) if there is any. Raises MalformedSafetensors."""
    size = reader.seek(0, io.SEEK_END)
    reader.seek(0)
    length = int.from_bytes(reader.read(8), "little")
    if size < 8 or length > size - 8:
        raise MalformedSafetensors("The file is shorter than its safetensors header; upload it again.")
    if length > MAX_HEADER_BYTES:
        raise MalformedSafetensors(f"The safetensors header of {length} bytes exceeds the limit of {MAX_HEADER_BYTES}.")
    header = _parse_json(reader.read(length))
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise MalformedSafetensors('"__metadata__" of a safetensors file maps strings to strings.')
    _check_tensors(header, data_bytes=size - 8 - length)
    return header


def count_parameters(header: dict[str, Any]) -> dict[str, Any]:
    """{"parameters": {dtype: number}, "total": number} of a header from `read_header`."""
    parameters: dict[str, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            parameters[tensor["dtype"]] = parameters.get(tensor["dtype"], 0) + prod(tensor["shape"])
    return {"parameters": parameters, "total": sum(parameters.values())}


def _parse_json(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode(), object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise MalformedSafetensors("The safetensors header is not a JSON object; save the file again.") from error
    if not isinstance(header, dict):
        raise MalformedSafetensors("The safetensors header is not a JSON object; save the file again.")
    return header


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise MalformedSafetensors("The safetensors header names a tensor twice; save the file again.")
    return result


def _check_tensors(header: dict[str, Any], *, data_bytes: int) -> None:
    """Every tensor has a known type, its bytes fit its shape, and together they fill the data without gap."""
    ranges = []
    for name, tensor in header.items():
        if name != "__metadata__":
            ranges.append((*_check_tensor(name, tensor), name))
    position = 0
    for start, end, name in sorted(ranges):
        if start != position:
            raise MalformedSafetensors(f"The bytes of tensor {name[:100]!r} overlap another one or leave a gap.")
        position = end
    if position != data_bytes:
        raise MalformedSafetensors(f"The tensors take {position} bytes, but {data_bytes} follow the header.")


def _check_tensor(name: str, tensor: Any) -> tuple[int, int]:
    """Byte range of one tensor."""
    where = f"Tensor {name[:100]!r}"
    bits_each = _BITS.get(str(tensor.get("dtype"))) if isinstance(tensor, dict) else None
    if bits_each is None:
        raise MalformedSafetensors(f"{where} has no type that safetensors knows.")
    shape, offsets = _read_sizes(tensor.get("shape")), _read_sizes(tensor.get("data_offsets"))
    if shape is None or len(shape) > _MAX_DIMENSIONS or offsets is None or len(offsets) != 2:
        raise MalformedSafetensors(f"{where} needs a shape and two data offsets, all of them whole numbers.")
    bits = prod(shape) * bits_each
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise MalformedSafetensors(f"{where} has data offsets that do not fit its type and shape.")
    return offsets[0], offsets[1]


def _read_sizes(value: Any) -> list[int] | None:
    if isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value):
        return value
    return None
