"""Rows out of files: jsonl, json, csv, tsv, parquet, txt, md. Every limit is a refusal with file and place."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from training.engine.errors import EngineError
from training.engine.inputs import InputRepo

MAX_LINE_BYTES = 4 << 20  # about a million tokens; longer lines are nearly always a broken export
MAX_DOCUMENT_BYTES = 64 << 20  # a txt, md or json file is read whole
MAX_ROW_GROUP_BYTES = 2 << 30  # uncompressed; guards against parquet bombs
MAX_EXPANSION = 200  # uncompressed over stored bytes of a parquet file
BATCH_ROWS, BATCH_BYTES = 512, 512 << 20  # of a parquet file, in memory at once

ROW_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT_SUFFIXES = (".txt", ".md")
NOT_DATA = re.compile(r"(readme|licen[cs]e|notice|contributing|changelog|code_of_conduct|requirements)\b.*|suite\.yaml")
SPLITS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}


@dataclass(frozen=True)
class RawRow:
    path: str
    number: int  # from 0, within the file
    value: dict[str, Any]

    @property
    def place(self) -> str:
        return f"{self.path} row {self.number + 1}"


def select_files(repo: InputRepo, *, split: str, format: str) -> list[str]:
    """The data files of one split, sorted. A file that names no split belongs to train."""
    suffixes = ROW_SUFFIXES + TEXT_SUFFIXES if format == "text" else ROW_SUFFIXES
    names = [p for p in repo.list_files() if p.lower().endswith(suffixes)]
    data = [p for p in names if not NOT_DATA.fullmatch(p.rsplit("/", 1)[-1].lower())]
    if not data:
        raise EngineError(
            f"{repo.name} holds no data file for format {format}; add one of {', '.join(suffixes)}",
            code="no_data_files",
        )
    chosen = [p for p in data if name_split(p) == split or split in _words(p)]
    if not chosen:
        found = ", ".join(sorted({name_split(p) for p in data}))
        raise EngineError(
            f"{repo.name} has no split '{split}' (found: {found}); name a file {split}.jsonl or change split",
            code="split_missing",
        )
    return chosen


def name_split(path: str) -> str:
    words = _words(path)
    return next((split for split, aliases in SPLITS.items() if aliases & words), "train")


def _words(path: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", path.lower()))


def read_rows(repo: InputRepo, path: str) -> Iterator[RawRow]:
    """All rows of one file, in order."""
    place = repo.find_file(path)
    name = f"{repo.id}/{path}"
    read = READERS[Path(path).suffix.lower()]
    try:
        for number, value in enumerate(read(place, name)):
            yield RawRow(path, number, value)
    except OSError as error:
        raise EngineError(
            f"{name} cannot be read ({error.strerror}); fetch it again", code="input_unreadable"
        ) from error


def read_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, text with its line end) of a UTF-8 file."""
    offset = 0
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise EngineError(
                f"{name}:{number}: the line is longer than {MAX_LINE_BYTES >> 20} MiB; split it into several rows",
                code="line_too_long",
            )
        start = 3 if number == 1 and line.startswith(b"\xef\xbb\xbf") else 0  # the mark that spreadsheets write
        try:
            text = line[start:].decode("utf-8")
        except UnicodeDecodeError as error:
            at = offset + start + error.start
            raise EngineError(
                f"{name}:{number}: byte {at} (0x{line[start + error.start]:02x}) is not UTF-8; save the file as UTF-8",
                code="wrong_encoding",
            ) from error
        yield number, text
        offset += len(line)


def read_jsonl(path: Path, name: str) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in read_lines(file, name):
            if line.strip():
                yield _check_object(parse_json(line, f"{name}:{number}"), f"{name}:{number}")


def read_json(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """One JSON array of objects; a file of JSON lines with the wrong suffix is read as such."""
    with path.open("rb") as file:
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"[":
            yield from read_jsonl(path, name)
            return
    text = _read_whole(path, name)
    try:
        values = parse_json(text, name)
    except EngineError as problem:
        place = f"{name} row {_count_good(text) + 1}"
        raise EngineError(str(problem).replace(name, place, 1), code=problem.code) from problem
    for number, value in enumerate(values):
        yield _check_object(value, f"{name} row {number + 1}")


def _count_good(text: str) -> int:
    """Rows of a JSON array before the one that cannot be read."""
    decoder, at, count = json.JSONDecoder(), text.find("[") + 1, 0
    try:
        while True:
            at = re.compile(r"[\s,]*").match(text, at).end()  # type: ignore[union-attr]
            _, at = decoder.raw_decode(text, at)
            count += 1
    except (ValueError, RecursionError):
        return count


def read_csv(path: Path, name: str) -> Iterator[dict[str, Any]]:
    return _read_separated(path, name, ",")


def read_tsv(path: Path, name: str) -> Iterator[dict[str, Any]]:
    return _read_separated(path, name, "\t")


def _read_separated(path: Path, name: str, delimiter: str) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open("rb") as file:
        lines = (text for _, text in read_lines(file, name))
        first = next(lines, "")
        delimiter = _choose_delimiter(first, delimiter)
        reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise EngineError(
                        f"{name}:{reader.line_num}: {len(cells)} cells stand under {len(header)} columns; "
                        "quote cells that hold the separator",
                        code="malformed_row",
                    )
                yield dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise EngineError(
                f"{name}:{reader.line_num}: {error}; export the table again", code="malformed_row"
            ) from error


def _choose_delimiter(header: str, usual: str) -> str:
    """What stands between the names of the columns: spreadsheets of many countries write semicolons into a .csv."""
    bare = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in (usual, ";", "\t") if mark in bare), usual)


def read_parquet(path: Path, name: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_parquet_size(file.metadata, path.stat().st_size, name)
            for batch in file.iter_batches(batch_size=fit_batch_rows(file.metadata)):
                yield from batch.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EngineError(
            f"{name} is no readable parquet file ({first}); write it again", code="malformed_file"
        ) from error


def _check_parquet_size(metadata: Any, stored_bytes: int, name: str) -> None:
    sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
    if max(sizes, default=0) > MAX_ROW_GROUP_BYTES or sum(sizes) > MAX_EXPANSION * max(stored_bytes, 1 << 16):
        raise EngineError(f"{name} unpacks to too much at once; write smaller row groups", code="file_too_large")


def fit_batch_rows(metadata: Any) -> int:
    """Rows to unpack at once. A dictionary page may hold one huge value that many rows name, so a batch is sized as if
    every row named the largest value that its column can hold."""
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    largest = max((c.total_uncompressed_size for c in columns if c.has_dictionary_page), default=1)
    return max(1, min(BATCH_ROWS, BATCH_BYTES // max(1, largest)))


def read_text(path: Path, name: str) -> Iterator[dict[str, Any]]:
    yield {"text": _read_whole(path, name)}


def _read_whole(path: Path, name: str) -> str:
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise EngineError(
            f"{name} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB; split the file", code="file_too_large"
        )
    with path.open("rb") as file:
        return "".join(text for _, text in read_lines(file, name))


def parse_json(text: str, place: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise EngineError(f"{place}: the JSON is nested too deeply; flatten it", code="malformed_row") from error
    except ValueError as error:
        raise EngineError(f"{place}: not valid JSON ({error}); write one JSON object", code="malformed_row") from error


def _check_object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineError(
            f"{place}: a row must be a JSON object with named columns; write {{...}}", code="malformed_row"
        )
    return value


READERS: dict[str, Callable[[Path, str], Iterator[dict[str, Any]]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".txt": read_text,
    ".md": read_text,
}
