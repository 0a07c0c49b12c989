"""Files that appear whole or not at all.

Everything is written into an incoming folder, synced, and then linked to its final name. Linking refuses to replace:
what a digest names never changes under a reader, whoever writes the same content a second time."""

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

from hub.storage.direct import DirectReader
from hub.storage.errors import StorageError
from hub.storage.xet.hashes import is_hex_hash

_BUFFER_BYTES = 1024 * 1024
_LONG_BYTES = 8 * 1024 * 1024  # from here on a single reading goes past the cache of pages


class OpenFile:
    """Random access to an open file; hub.storage.objects.Opened."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.size = status.st_size
        # With the inode: a xorb that was swept and came back may be packed differently.
        self.version = (status.st_dev, status.st_ino, status.st_size)

        self._reader: DirectReader | None = None

    def expect(self, start: int, end: int, *, once: bool = False) -> None:
        if once and self._reader is None and end - start >= _LONG_BYTES:
            self._reader = DirectReader(self._descriptor)
        if self._reader is not None:
            self._reader.expect(start, end)
        # Otherwise the kernel reads ahead.

    def read(self, start: int, end: int) -> bytes:
        if self._reader is not None:
            return self._reader.read(start, end)
        return os.pread(self._descriptor, end - start, start)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Raises FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        file = OpenFile(descriptor)
        try:
            yield file
        finally:
            file.close()
    finally:
        os.close(descriptor)


class Folder:
    """Objects as a tree of files named by digests: root/aa/<digest>, or with two levels root/aa/bb/<digest>.

    Times of files are times of renewal. Callers hold the lock of the store where they look first and act then."""

    at_once = 1

    def __init__(self, root: Path, incoming: Path, *, levels: int) -> None:
        self.root = root
        self._incoming = incoming
        self._levels = levels

    def path(self, digest: str) -> Path:
        """Where the content of this digest lives. The caller has checked that it is a digest."""
        return self.root.joinpath(*(digest[2 * level : 2 * level + 2] for level in range(self._levels)), digest)

    def put(self, digest: str, content: bytes) -> bool:
        if self.path(digest).exists():
            return False
        with incoming_file(self._incoming) as file:
            file.write(content)
            return publish(file, self.path(digest))

    def publish(self, digest: str, file: BinaryIO) -> bool:
        return publish(file, self.path(digest))

    def read(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def open(self, digest: str) -> AbstractContextManager[OpenFile]:
        return opened(self.path(digest))

    def size(self, digest: str) -> int | None:
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def renew(self, digest: str) -> bool:
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def renew_all(self, digests: Iterable[str]) -> bool:
        return all(self.renew(digest) for digest in digests)

    def remove(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def size_if_older(self, digest: str, before: float) -> int | None:
        try:
            status = self.path(digest).stat()
        except FileNotFoundError:
            return None
        return status.st_size if status.st_mtime < before else None

    def remove_if_older(self, digest: str, before: float) -> bool:
        if self.size_if_older(digest, before) is None:
            return False
        self.remove(digest)
        return True

    def list_older(self, before: float) -> Iterator[str]:
        return (digest for digest in self if self.size_if_older(digest, before) is not None)

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in _list_files(self.root, self._levels) if is_hex_hash(path.name))


@contextmanager
def incoming_file(folder: Path) -> Iterator[BinaryIO]:
    """A new file in `folder`, removed afterwards; what is to stay has been published by then."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / secrets.token_hex(16)
    with open(path, "xb", buffering=_BUFFER_BYTES) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # tells a sweep that the upload lives, however slow it is
        try:
            yield file
        finally:
            path.unlink(missing_ok=True)


def publish(file: BinaryIO, destination: Path) -> bool:
    """Give a complete incoming file its final name. False if that name is taken: then nothing changes."""
    file.flush()
    os.fsync(file.fileno())
    _make_folders(destination.parent)
    try:
        os.link(file.name, destination)
    except FileExistsError:
        return False
    except FileNotFoundError as error:
        raise StorageError("The incoming file was swept during the upload; upload again.") from error
    sync_folder(destination.parent)
    return True


def is_abandoned(path: Path) -> bool:
    """Whether nobody writes this incoming file any more. Raises FileNotFoundError."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def replace(file: BinaryIO, destination: Path) -> None:
    """Give a complete file its final name, over whatever has it now."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(file.name, destination)
    sync_folder(destination.parent)


def sync_folder(folder: Path) -> None:
    """Without this a new name may be lost in a power cut although the file itself is safe."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock between processes and threads; the kernel releases it if the holder dies."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _list_files(folder: Path, levels: int) -> Iterator[Path]:
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in paths:
        if levels:
            yield from _list_files(path, levels - 1)
        else:
            yield path
