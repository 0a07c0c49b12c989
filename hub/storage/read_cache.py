"""Copies of objects on the local disk: what was stored here a moment ago, and what is read again and again.

A copy is whole or absent, is no truth, and may go at any time. Losing the folder costs a few requests."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO

from hub.storage.disk import Folder, OpenFile
from hub.storage.errors import StorageError


class ReadCache:
    """At most about `limit_bytes`, the least recently opened ones go first. Safe between processes."""

    def __init__(self, root: Path, incoming: Path, *, limit_bytes: int) -> None:
        self.incoming = incoming
        self._folder = Folder(root, incoming, levels=1)
        self._limit_bytes = limit_bytes
        self._guard = threading.Lock()
        self._kept_bytes = 0  # by this process, since it last looked at all of the folder

    def open(self, digest: str) -> AbstractContextManager[OpenFile]:
        """Raises FileNotFoundError."""
        self._folder.renew(digest)
        return self._folder.open(digest)

    def has_room_for(self, size: int) -> bool:
        return size <= self._limit_bytes // 16

    def keep(self, digest: str, file: BinaryIO) -> None:
        """Take a complete incoming file as a copy. A full disk is no error: then there is none."""
        with suppress(OSError, StorageError):
            file.flush()
            size = os.fstat(file.fileno()).st_size
            if not self.has_room_for(size) or not self._folder.publish(digest, file):
                return
            with self._guard:
                self._kept_bytes += size
                is_due = self._kept_bytes > self._limit_bytes // 16
                self._kept_bytes = 0 if is_due else self._kept_bytes
            if is_due:
                self._make_room()

    def drop(self, digest: str) -> None:
        self._folder.remove(digest)

    def _make_room(self) -> None:
        with open(self._folder.root / "room.lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process is at it
            found = sorted(self._list(), reverse=True)  # the newest first
            room = self._limit_bytes - self._limit_bytes // 16
            for _, size, digest in found:
                room -= size
                if room < 0:
                    self._folder.remove(digest)

    def _list(self) -> Iterator[tuple[float, int, str]]:
        for digest in self._folder:
            with suppress(FileNotFoundError):
                status = self._folder.path(digest).stat()
                yield status.st_mtime, status.st_size, digest
