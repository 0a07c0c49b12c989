"""Past the cache of pages the same bytes are written and read as through it, also where a file system does not have that."""

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from hub.storage import direct
from hub.storage.direct import BLOCK_BYTES, DirectReader, DirectWriter
from hub.storage.disk import opened

SIZES = [0, 1, 4095, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 4097]


def refuse_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that takes the flag, and then neither writes nor reads so."""

    def guard(real: Any) -> Any:
        def call(descriptor: int, *more: Any) -> Any:
            if direct.fcntl.fcntl(descriptor, direct.fcntl.F_GETFL) & os.O_DIRECT:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(descriptor, *more)

        return call

    monkeypatch.setattr(direct.os, "pwrite", guard(os.pwrite))
    monkeypatch.setattr(direct.os, "preadv", guard(os.preadv))


def write_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that writes and reads less than it was asked for, at odd places."""
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(direct.os, "pwrite", lambda fd, part, at: write(fd, part[: max(1, len(part) // 2 + 1)], at))
    monkeypatch.setattr(direct.os, "preadv", lambda fd, parts, at: read(fd, [parts[0][: len(parts[0]) // 2 + 1]], at))


def change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pass


@pytest.mark.parametrize("world", [change_nothing, refuse_direct, write_short])
@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: Any, size: int) -> None:
    rng = random.Random(size)
    content = rng.randbytes(size)
    world(monkeypatch)
    with open(tmp_path / "file", "xb") as file, DirectWriter(file) as writer:
        at = 0
        while at < size:
            step = rng.choice([1, 1000, 4096, 70_000, 2 * BLOCK_BYTES])
            assert writer.write(content[at : at + step]) == len(content[at : at + step])
            at += step
        writer.seek(max(0, size - 7))  # a footer stands in place of what a client sent behind the chunks
        writer.truncate()
        writer.write(b"footer")
    content = content[: max(0, size - 7)] + b"footer"
    assert (tmp_path / "file").read_bytes() == content

    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    reader = DirectReader(descriptor)
    try:
        reader.expect(0, len(content))
        at = 0
        while at < len(content):
            step = rng.choice([1, 5000, 300_000, 2 * BLOCK_BYTES])
            assert reader.read(at, at + step) == content[at : at + step]
            at += step
        for _ in range(20):  # and in any order
            start = rng.randrange(len(content))
            assert reader.read(start, start + 9000) == content[start : start + 9000]
        assert reader.read(len(content), len(content) + 5) == b""
    finally:
        reader.close()
        os.close(descriptor)


def test_only_what_is_long_and_read_once_goes_past_the_cache(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(9 * 1024 * 1024)
    (tmp_path / "file").write_bytes(content)
    for once, end, expected in [(True, len(content), True), (True, 1000, False), (False, len(content), False)]:
        with opened(tmp_path / "file") as file:
            file.expect(0, end, once=once)
            assert file.read(3, end) == content[3:end]
            assert (file._reader is not None) is expected


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(direct.os, "pwrite", fail)
    with open(tmp_path / "file", "xb") as file, DirectWriter(file) as writer:
        with pytest.raises(OSError, match="No space left"):
            writer.write(bytes(BLOCK_BYTES))
