"""Where immutable objects lie: what the byte store asks of a folder on disk and of a bucket alike.

An object is named by a digest and never changes: two writers of one name bring the same content (a xorb may be packed
in another way, which its `version` tells). Locks and files on their way stay on the local disk in both cases."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

Found = TypeVar("Found")


def look_at_each(objects: "Objects", look: Callable[[str], Found]) -> Iterator[Found]:
    """What `look` finds at each digest; several at once where the objects are far away."""
    if objects.at_once == 1:
        yield from map(look, objects)
        return
    with ThreadPoolExecutor(objects.at_once) as pool:
        ahead: deque[Future[Found]] = deque()
        for digest in objects:
            ahead.append(pool.submit(look, digest))
            if len(ahead) > 2 * objects.at_once:  # no more than that is in memory
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class Opened(Protocol):
    """Random access to one object."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def version(self) -> tuple[object, ...]:
        """Differs between two objects of one name that may hold different bytes."""

    def expect(self, start: int, end: int, *, once: bool = False) -> None:
        """Tell that [start, end) will be read from front to back: worth one request instead of many. `once`: and not
        again soon, so it need not stay in memory."""

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end), fewer behind the end of the object."""


class Objects(Protocol):
    """All objects of one kind. Everything that reads or writes raises StoreUnavailable while the storage is away."""

    at_once: int  # how many requests side by side are faster than one after another

    def put(self, digest: str, content: bytes) -> bool:
        """Store small content, whole or not at all. False if the name was taken already."""

    def publish(self, digest: str, file: BinaryIO) -> bool:
        """Store a complete incoming file. False if the name was taken already: then nothing changes."""

    def read(self, digest: str) -> bytes:
        """A small object. Raises FileNotFoundError."""

    def open(self, digest: str) -> AbstractContextManager[Opened]:
        """Raises FileNotFoundError, if not at once then with the first read."""

    def size(self, digest: str) -> int | None:
        """Bytes, None if it is not there."""

    def path(self, digest: str) -> Path | None:
        """Where the object lies as a file of its own, or would lie; None if it never does."""

    def renew(self, digest: str) -> bool:
        """Restart the time before a sweep may take it. False if it is not there."""

    def renew_all(self, digests: Iterable[str]) -> bool:
        """The same for many. False if one of them is not there."""

    def remove(self, digest: str) -> None:
        """Remove it, whatever its age; not an error if it is not there."""

    def size_if_older(self, digest: str, before: float) -> int | None:
        """Bytes, if it is there and was neither stored nor renewed since `before` (Unix time)."""

    def remove_if_older(self, digest: str, before: float) -> bool:
        """Remove it unless it was stored or renewed since `before`, be it at this very moment."""

    def list_older(self, before: float) -> Iterator[str]:
        """The digests of what was neither stored nor renewed since `before`, in no particular order."""

    def __iter__(self) -> Iterator[str]:
        """All digests, in no particular order; objects may come and go meanwhile."""
