"""The program that opens a Parquet or Arrow file for the screens: its own process, because a C++ parser meets a
stranger's file.

It knows neither the file's place nor anything else of the hub: bytes come over stdin on request, text goes to stdout.
Messages to the parent: one JSON line, then as many raw bytes as its "bytes" or "lines" says.
  {"read": [offset, size]}                 the parent answers with 8 bytes little-endian length and the bytes
  {"column", "bytes", "rows", "starts"}    values joined by newlines; rows and starts are int64 arrays at the end
  {"lines"}                                rows as JSON lines, where columns are asked for (a fourth argument)
  {"pickle": place}                        Python objects stand there; nothing more is read
  {"done": rows} or {"error": sentence}"""

import io
import json
import os
import resource
import struct
import sys
from collections.abc import Iterator
from typing import Any

MEMORY_BYTES = 2 << 30
ROWS_AT_ONCE = 2048
MAX_DEPTH = 20
MAX_COLUMNS = 10_000
LINE_BYTES = 64 << 10  # of one row as JSON; a longer one stands as {} among them, so that rows keep their numbers
LINES_AT_ONCE = 256
VALUE_BYTES = 4 << 20  # of one value; the rest of a longer one is not text that anybody reads
BLOCK_BYTES = 1 << 20
SMALLEST_CARD = 10**12  # integers below cannot be a payment card number


class Pipe(io.RawIOBase):
    """The file as the parent gives it out: every read is a question."""

    def __init__(self, size: int) -> None:
        self.size, self.position = size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = base + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        left = max(self.size - self.position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        say({"read": [self.position, wanted]})
        (length,) = struct.unpack("<Q", sys.stdin.buffer.read(8))
        data = sys.stdin.buffer.read(length)
        self.position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def say(message: dict[str, Any], *payloads: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n" + b"".join(payloads))
    sys.stdout.buffer.flush()


def texts(array: Any, rows: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any, Any]]:
    """(column path, row numbers, string array) of every text below `array`, through lists, structs and maps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if depth > MAX_DEPTH:
        raise ValueError(f"column {path} is nested more than {MAX_DEPTH} deep")
    if pa.types.is_dictionary(kind):
        yield from texts(array.dictionary_decode(), rows, path, depth)
    elif pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from texts(pc.struct_field(array, [index]), rows, f"{path}.{kind.field(index).name}", depth + 1)
    elif pa.types.is_map(kind):
        entries = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        yield from texts(pc.list_flatten(entries), rows.take(pc.list_parent_indices(entries)), path, depth + 1)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from texts(pc.list_flatten(array), rows.take(pc.list_parent_indices(array)), f"{path}[]", depth + 1)
    elif isinstance(kind, pa.BaseExtensionType):
        yield from texts(array.storage, rows, path, depth + 1)
    elif pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        yield path, rows, array.cast(pa.binary())
    elif pa.types.is_string_view(kind):
        yield path, rows, array.cast(pa.string())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        yield path, rows, array
    elif pa.types.is_integer(kind) and len(array) and (pc.max(array).as_py() or 0) >= SMALLEST_CARD:
        yield path, rows, array.cast(pa.string())
    elif not (pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
        raise ValueError(f"column {path} is of a type that is not read ({kind})")


def send(path: str, rows: Any, array: Any) -> None:
    """One column's values of one batch, in blocks of about a MiB; binary values that are not text are left out."""
    import numpy as np

    def check(row: int, value: Any) -> None:
        if isinstance(value, bytes) and is_pickle(value):
            raise PickleFound(f"row {row}, column {path}")

    pieces: list[bytes] = []
    numbers: list[int] = []
    starts: list[int] = []
    size = 0

    def flush() -> None:
        if pieces:
            arrays = np.array(numbers, "<i8").tobytes(), np.array(starts, "<i8").tobytes()
            joined = b"\n".join(pieces)
            say({"column": path, "bytes": len(joined), "rows": len(numbers)}, joined, *arrays)

    for row, value in zip(rows.to_pylist(), array.to_pylist(), strict=True):
        check(row, value)
        data = as_text(value)
        if not data:
            continue
        if size + len(data) > BLOCK_BYTES:
            flush()
            pieces, numbers, starts, size = [], [], [], 0
        pieces.append(data)
        numbers.append(row)
        starts.append(size)
        size += len(data) + 1
    flush()


class PickleFound(Exception):
    """The message is the place."""


def is_pickle(value: bytes) -> bool:
    """By its first two bytes and its last one, which every stream of protocol 2 and later has."""
    return len(value) > 2 and value[0] == 0x80 and 2 <= value[1] <= 5 and value[-1:] == b"."


def refuse_python_types(fields: Any, depth: int = 0) -> None:
    """Columns of a type that old versions of pyarrow unpickle as they open the file (CVE-2023-47248)."""
    for field in fields:
        metadata = field.metadata or {}
        if b"py_extension_type" in metadata.get(b"ARROW:extension:name", b"") or "py_extension_type" in str(field.type):
            raise PickleFound(f"the type of column {field.name}")
        inner = [field.type.field(index) for index in range(field.type.num_fields)]
        if inner and depth < MAX_DEPTH:
            refuse_python_types(inner, depth + 1)


def as_text(value: str | bytes | None) -> bytes:
    if value is None:
        return b""
    data = (value.encode("utf-8", "replace") if isinstance(value, str) else value)[:VALUE_BYTES]
    return b"" if isinstance(value, bytes) and b"\x00" in data[:1024] else data


def batches_of(kind: str, size: int) -> Iterator[Any]:
    """Record batches, one after the other."""
    return parquet_batches(size) if kind == "parquet" else arrow_batches(size)


def parquet_batches(size: int) -> Iterator[Any]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(Pipe(size))
    refuse_python_types(file.schema_arrow)
    names = file.schema_arrow.names
    if len(file.schema.names) > MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_COLUMNS:,} columns")
    strings = [name for name in names if is_plain_text(file.schema_arrow.field(name).type)]
    # One repeated value stays one value: a dictionary page of 1 MB can stand for gigabytes of rows.
    file = pq.ParquetFile(Pipe(size), read_dictionary=strings)
    yield from file.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False)


def arrow_batches(size: int) -> Iterator[Any]:
    """Of the file format (ARROW1) and of the stream format, which `datasets` writes."""
    import pyarrow as pa

    is_file = Pipe(size).read(6) == b"ARROW1"
    reader = pa.ipc.open_file(Pipe(size)) if is_file else pa.ipc.open_stream(Pipe(size))
    refuse_python_types(reader.schema)
    if len(reader.schema) > MAX_COLUMNS:
        raise ValueError(f"it has more than {MAX_COLUMNS:,} columns")
    batches = (reader.get_batch(number) for number in range(reader.num_record_batches)) if is_file else reader
    for batch in batches:
        batch.validate(full=True)  # unlike Parquet's, its offsets come from the file as they are
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield batch.slice(start, ROWS_AT_ONCE)


class WithoutPandas:
    """pyarrow imports pandas where it finds it: half a second, for nothing here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ImportError(name)


def send_rows(batch: Any, wanted: set[str]) -> None:
    """Each row with the wanted columns alone, as a line of JSON."""
    import pyarrow as pa

    names = [name for name in batch.schema.names if name.lower() in wanted]
    columns = [shorten(batch.column(name)) for name in names]
    rows: Any = pa.RecordBatch.from_arrays(columns, names=names).to_pylist() if names else [{}] * batch.num_rows
    lines: list[bytes] = []
    for row in rows:
        line = json.dumps(row, default=str).encode()
        lines.append(line if len(line) <= LINE_BYTES else b"{}")
        if len(lines) >= LINES_AT_ONCE:
            say_lines(lines)
            lines = []
    say_lines(lines)


def say_lines(lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    if data:
        say({"lines": len(data)}, data)


def shorten(column: Any) -> Any:
    """Texts that are too long for a line are left out before rows are made: a repeated value would be held for each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        return pa.DictionaryArray.from_arrays(column.indices, shorten(column.dictionary))
    if is_plain_text(column.type):
        return pc.if_else(pc.less_equal(pc.binary_length(column), LINE_BYTES), column, pa.scalar(None, column.type))
    return column


def main() -> int:
    size, seconds, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    wanted = {name for name in " ".join(sys.argv[4:5]).split(",") if name}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # the others reserve address space that the limit counts
    sys.meta_path.insert(0, WithoutPandas())
    import numpy  # noqa: F401
    import pyarrow as pa
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401  # all that is needed later, for from here on no file or socket can be opened

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    pa.set_cpu_count(1)
    done = 0
    try:
        for batch in batches_of(kind, size):
            if wanted:
                send_rows(batch, wanted)
                done += batch.num_rows
                continue
            rows = pa.array(range(done + 1, done + 1 + batch.num_rows), pa.int64())
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_dictionary(column.type) and len(column.dictionary) < len(column):
                    send_dictionary(name, rows, column)
                else:
                    for path, numbers, array in texts(column, rows, name):
                        send(path, numbers, array)
            done += batch.num_rows
    except PickleFound as error:
        say({"pickle": str(error)[:200]})
        return 0
    except MemoryError:
        say({"error": f"it needs more than {MEMORY_BYTES >> 30} GiB to read"})
        return 0
    except Exception as error:  # Arrow raises its own and Python's errors on broken files; all mean the same here
        say({"error": str(error).split("\n", 1)[0][:200], "rows": done})
        return 0
    say({"done": done})
    return 0


def is_plain_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def send_dictionary(name: str, rows: Any, column: Any) -> None:
    """Each value once, at the first row that has it."""
    first: dict[int, int] = {}
    for row, index in zip(rows.to_pylist(), column.indices.to_pylist(), strict=True):
        if index is not None:
            first.setdefault(index, row)
    import pyarrow as pa

    order = sorted(first)
    values = column.dictionary.take(pa.array(order, pa.int64()))
    send(name, pa.array([first[index] for index in order], pa.int64()), values)


if __name__ == "__main__":
    sys.exit(main())
