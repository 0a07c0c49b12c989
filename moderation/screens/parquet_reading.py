"""Text blocks of a Parquet or Arrow file. The parsing happens in a child with limits on memory and time; see parquet_child."""

import json
import struct
import subprocess
import sys
import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from moderation.screens.limits import Deadline, OutOfTime, ScreenLimit, read_exactly
from moderation.screens.text_reading import Place, TextBlock

CHILD = Path(__file__).with_name("parquet_child.py")
MAX_MESSAGE_BYTES = 64 << 20  # the child sends blocks of 1 MiB, or one value of 4 MiB; anything larger is not the child


class PickleInside(Exception):
    """Python objects stand in the file; the message is the place."""


def read_table(
    kind: str, reader: BinaryIO, size: int, deadline: Deadline, *, columns: Iterable[str] = ()
) -> Iterator[TextBlock]:
    """Every text value with its row and column; `kind` is "parquet" or "arrow". With `columns` instead the rows as lines of
    JSON that hold these alone; one that is too long is {}. Raises ScreenLimit when the file cannot be read to its end,
    OutOfTime (one of them) when the budget is spent, PickleInside."""
    deadline.check()
    seconds = max(int(deadline.left_s()) + 1, 1)
    # -I: no user site, no environment, no current folder on the path; the child needs pyarrow and numpy only.
    child = subprocess.Popen(
        [sys.executable, "-I", "-B", str(CHILD), str(size), str(seconds), kind, ",".join(columns)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"OMP_NUM_THREADS": "1", "HOME": "/", "ARROW_DEFAULT_MEMORY_POOL": "system"},
        cwd="/",
    )
    # A child that neither asks nor answers is ended by the clock; a closed pipe then wakes this side.
    watchdog = threading.Timer(max(deadline.left_s(), 0.01), child.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield from _serve(child, reader, size, deadline)
    finally:
        watchdog.cancel()
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                _close(pipe)


def _close(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except BrokenPipeError:  # the child went with an answer still under way
        pass


def _serve(child: "subprocess.Popen[bytes]", reader: BinaryIO, size: int, deadline: Deadline) -> Iterator[TextBlock]:
    assert child.stdin and child.stdout
    while True:
        line = child.stdout.readline(65536)
        if not line:
            deadline.check()
            raise ScreenLimit("it made its reader fail")
        message = json.loads(line)
        if "read" in message:
            _answer(child.stdin, reader, size, *message["read"])
        elif "column" in message:
            yield _block(child.stdout, message)
        elif "lines" in message:
            yield _lines(child.stdout, int(message["lines"]))
        elif "pickle" in message:
            raise PickleInside(str(message["pickle"]))
        elif "error" in message:
            raise ScreenLimit(str(message["error"]))
        else:
            return
        deadline.check()


def _answer(stdin: IO[bytes], reader: BinaryIO, size: int, offset: int, wanted: int) -> None:
    reader.seek(min(max(offset, 0), size))
    data = read_exactly(reader, max(min(wanted, size - offset), 0))
    try:
        stdin.write(struct.pack("<Q", len(data)) + data)
        stdin.flush()
    except BrokenPipeError as error:
        raise OutOfTime("its reader was ended by the clock") from error


def _lines(stdout: IO[bytes], length: int) -> TextBlock:
    if length > MAX_MESSAGE_BYTES:
        raise ScreenLimit("its reader answered out of bounds")
    return TextBlock(read_exactly(stdout, length), lambda data, start, end: Place("among its rows"))


def _block(stdout: IO[bytes], message: dict[str, int | str]) -> TextBlock:
    length, count, column = int(message["bytes"]), int(message["rows"]), str(message["column"])
    if length + 16 * count > MAX_MESSAGE_BYTES:
        raise ScreenLimit("its reader answered out of bounds")
    data = read_exactly(stdout, length)
    rows: list[int] = np.frombuffer(read_exactly(stdout, 8 * count), "<i8").tolist()
    starts: list[int] = np.frombuffer(read_exactly(stdout, 8 * count), "<i8").tolist()

    def locate(_: bytes, start: int, end: int) -> Place:
        return Place(f"row {rows[bisect_right(starts, start) - 1]}, column {column}", column)

    return TextBlock(data, locate, rows=rows, starts=starts)
