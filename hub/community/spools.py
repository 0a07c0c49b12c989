"""Contents of small files that wait on disk for their commit, so that a commit of many never lies in memory as a whole."""

import os
import tempfile
from typing import IO

from hub.storage.git import AddFile

SPOOL_ABOVE = 4 * 1024  # bytes; smaller contents stay in memory, and a commit may hold 50,000 of them


class SpooledFile(AddFile):
    """An AddFile whose content waits on disk and is read each time it is asked for."""

    def __init__(self, path: str, file: IO[bytes], offset: int, size: int):
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "_where", (file, offset, size))

    @property
    def content(self) -> bytes:  # type: ignore[override]
        file, offset, size = self._where  # type: ignore[attr-defined]
        return os.pread(file.fileno(), size, offset)


def open_spool() -> IO[bytes]:
    """A nameless temporary file, to be kept open as long as the operations; gone when it is closed, also after a crash."""
    return tempfile.TemporaryFile(prefix="commit-")


def spool_file(path: str, data: bytes, spool: IO[bytes]) -> AddFile:
    if len(data) <= SPOOL_ABOVE:
        return AddFile(path, data)
    offset = spool.seek(0, os.SEEK_END)
    spool.write(data)
    spool.flush()  # pread sees what has left the buffer
    return SpooledFile(path, spool, offset, len(data))
