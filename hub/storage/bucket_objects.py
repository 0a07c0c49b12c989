"""Objects of one kind in a bucket; hub.storage.objects says what is asked of them.

    <kind>/aa/<digest>              the object, named as on the local disk: xorbs have a second level, <kind>/aa/bb/<digest>
    renewed/<kind>/...              empty; its time is when the object was last renewed
    removed/<kind>/...              a copy, while a sweep makes sure that nobody renews what it removes

The storage's clock counts, in whole seconds; the sweep's own may differ from it by CLOCK_SLACK_S.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hub.storage.bucket import Bucket, Listed, Stream
from hub.storage.disk import incoming_file
from hub.storage.errors import StorageError, StoreUnavailable
from hub.storage.objects import Opened
from hub.storage.read_cache import ReadCache
from hub.storage.xet.hashes import is_hex_hash

CLOCK_SLACK_S = 300.0
_KNOWN = 4096  # objects whose size and ETag are remembered
_KNOWN_S = 300.0  # ... this long
_HOT_READS = 3  # an object that is read for the third time is worth a copy
_TAIL_BYTES = 64 * 1024  # fetched together: the footer of nearly every xorb
_PIECE_BYTES = 1024 * 1024
_TRIES = 3  # of a stream that breaks off

log = logging.getLogger(__name__)


@dataclass
class _Known:
    """What is remembered of an object between two reads."""

    size: int
    etag: str
    since: float  # monotonic time
    reads: int = 0


class BucketObjects:
    """With a `cache`, objects that are stored or read often are read from the local disk."""

    at_once = 8

    def __init__(self, bucket: Bucket, kind: str, *, levels: int, cache: ReadCache | None = None) -> None:
        self._bucket = bucket
        self._kind = kind
        self._levels = levels
        self._cache = cache
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._guard = threading.Lock()

    # -- storing -----------------------------------------------------------------------------------------------------

    def put(self, digest: str, content: bytes) -> bool:
        if self._head(digest) is not None:
            return False
        self._bucket.put(self._key(digest), content)
        return True

    def publish(self, digest: str, file: BinaryIO) -> bool:
        file.flush()
        if self._head(digest) is not None:
            return False
        try:
            is_new = self._bucket.put_new(self._key(digest), Path(file.name))
        except FileNotFoundError as error:
            raise StorageError("The incoming file was swept during the upload; upload again.") from error
        self._forget(digest)
        if is_new and self._cache is not None:
            self._cache.keep(digest, file)  # it is read at once: its digest is computed, and it is screened
        return is_new

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, digest: str) -> bytes:
        return self._bucket.get(self._key(digest))

    @contextmanager
    def open(self, digest: str) -> Iterator[Opened]:
        with ExitStack() as stack:
            yield self._open(digest, stack)

    def _open(self, digest: str, stack: ExitStack) -> Opened:
        if self._cache is not None:
            try:
                return stack.enter_context(self._cache.open(digest))
            except FileNotFoundError:
                pass
        known = self._recall(digest)
        remote = RemoteObject(self._bucket, self._key(digest), known)
        stack.callback(remote.close)
        if self._cache is not None and known.reads >= _HOT_READS and self._cache.has_room_for(remote.size):
            known.reads = 0  # first: one reader makes the copy, others go on without
            self._copy(digest, remote, self._cache)
            try:
                return stack.enter_context(self._cache.open(digest))
            except FileNotFoundError:  # no room
                pass
        return remote

    def _copy(self, digest: str, remote: "RemoteObject", cache: ReadCache) -> None:
        remote.expect(0, remote.size)
        with incoming_file(cache.incoming) as file:
            for start in range(0, remote.size, _PIECE_BYTES):
                file.write(remote.read(start, start + _PIECE_BYTES))
            file.flush()
            cache.keep(digest, file)

    def _recall(self, digest: str) -> _Known:
        """Size and ETag. Raises FileNotFoundError."""
        now = time.monotonic()
        with self._guard:
            known = self._known.get(digest)
            if known is not None and known.since > now - _KNOWN_S:
                self._known.move_to_end(digest)
                return known
        found = self._head(digest)
        if found is None:
            self._forget(digest)
            raise FileNotFoundError(digest)
        with self._guard:
            reads = known.reads if known is not None else 0
            known = self._known[digest] = _Known(found.size, found.etag, now, reads)
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return known

    def _forget(self, digest: str) -> None:
        with self._guard:
            self._known.pop(digest, None)

    def size(self, digest: str) -> int | None:
        try:
            with self.open(digest) as found:
                return found.size
        except FileNotFoundError:
            return None

    def path(self, digest: str) -> Path | None:
        return None

    # -- ages --------------------------------------------------------------------------------------------------------

    def renew(self, digest: str) -> bool:
        # In this order: a sweep elsewhere either sees the mark and keeps the object, or we see that it is gone.
        self._bucket.put(self._mark(digest), b"")
        if self._head(digest) is not None:
            return True
        self._bucket.delete(self._mark(digest))
        return False

    def renew_all(self, digests: Iterable[str]) -> bool:
        wanted = list(digests)
        if len(wanted) < 2:
            return all(map(self.renew, wanted))
        with ThreadPoolExecutor(min(self.at_once, len(wanted))) as pool:
            return all(pool.map(self.renew, wanted))

    def size_if_older(self, digest: str, before: float) -> int | None:
        found = self._head(digest)
        if found is None or not _is_older(found, before) or not self._is_unmarked(digest, before):
            return None
        return found.size

    def list_older(self, before: float) -> Iterator[str]:
        self._mend(before)
        marks = {_digest_of(mark): mark for mark in self._bucket.list(f"renewed/{self._kind}/")}
        for found in self._list():
            mark = marks.get(_digest_of(found))
            if _is_older(found, before) and (mark is None or _is_older(mark, before)):
                yield _digest_of(found)

    # -- removing ----------------------------------------------------------------------------------------------------

    def remove(self, digest: str) -> None:
        self._bucket.delete(self._key(digest))
        self._bucket.delete(self._mark(digest))
        self._lose(digest)

    def remove_if_older(self, digest: str, before: float) -> bool:
        """Locks do not reach other machines. So it is removed first, and comes back if somebody has renewed it by
        then: whoever renews later finds it gone."""
        if self.size_if_older(digest, before) is None:
            return False
        try:
            self._bucket.copy(self._key(digest), self._spare(digest))
        except FileNotFoundError:
            return False
        self._bucket.delete(self._key(digest))
        self._lose(digest)
        return self._settle(digest, before)

    def _settle(self, digest: str, before: float) -> bool:
        """Bring a removed object back if it was renewed, or let it go for good: True."""
        is_gone = self._is_unmarked(digest, before)
        if is_gone:
            self._bucket.delete(self._mark(digest))
        elif self._head(digest) is None:
            self._bucket.copy(self._spare(digest), self._key(digest))
        self._bucket.delete(self._spare(digest))
        return is_gone

    def _mend(self, before: float) -> None:
        """Settle what a sweep left that was killed in the middle."""
        for spare in self._bucket.list(f"removed/{self._kind}/"):
            log.warning("A sweep was interrupted; %s %s is settled now.", self._kind, _digest_of(spare))
            self._settle(_digest_of(spare), before)

    def _lose(self, digest: str) -> None:
        self._forget(digest)
        if self._cache is not None:
            self._cache.drop(digest)

    # -- names -------------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[str]:
        return (_digest_of(found) for found in self._list())

    def _list(self) -> Iterator[Listed]:
        return (found for found in self._bucket.list(f"{self._kind}/") if is_hex_hash(_digest_of(found)))

    def _head(self, digest: str) -> Listed | None:
        return self._bucket.head(self._key(digest))

    def _is_unmarked(self, digest: str, before: float) -> bool:
        mark = self._bucket.head(self._mark(digest))
        return mark is None or _is_older(mark, before)

    def _key(self, digest: str) -> str:
        folders = (digest[2 * level : 2 * level + 2] for level in range(self._levels))
        return "/".join((self._kind, *folders, digest))

    def _mark(self, digest: str) -> str:
        return f"renewed/{self._key(digest)}"

    def _spare(self, digest: str) -> str:
        return f"removed/{self._key(digest)}"


class RemoteObject:
    """Random access to an object that is not here; hub.storage.objects.Opened."""

    def __init__(self, bucket: Bucket, key: str, known: _Known) -> None:
        self._bucket = bucket
        self._key = key
        self._known = known
        self.size = known.size
        self.version = (known.etag, known.size)
        self._tail: bytes | None = None
        self._expected = (0, 0)
        self._stream: Stream | None = None
        self._position = self._stream_end = 0

    def expect(self, start: int, end: int, *, once: bool = False) -> None:
        self._expected = (start, end)

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        tail_start = max(0, self.size - _TAIL_BYTES)
        if start >= tail_start and (self._tail is not None or not self._is_expected(start)):
            if self._tail is None:
                self._tail = self._fetch(tail_start, self.size)
            return self._tail[start - tail_start : end - tail_start]
        return self._fetch(start, end)

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _is_expected(self, start: int) -> bool:
        return self._expected[0] <= start < self._expected[1]

    def _fetch(self, start: int, end: int) -> bytes:
        for attempt in range(1, _TRIES + 1):
            try:
                stream = self._stream_at(start, end)
                data = stream.read(end - start)
            except StoreUnavailable:
                self.close()
                if attempt == _TRIES:
                    self._known.since = 0.0  # perhaps it is another object by now
                    raise
                continue
            self._position = end
            if end == self._stream_end:
                self.close()
            return data
        raise AssertionError("unreachable")

    def _stream_at(self, start: int, end: int) -> Stream:
        """The stream that is open, if it is just there; else a new one, as far as is expected."""
        if self._stream is not None and self._position == start and end <= self._stream_end:
            return self._stream
        self.close()
        self._stream_end = max(end, self._expected[1]) if self._is_expected(start) else end
        self._stream = self._bucket.stream(self._key, start, self._stream_end, self._known.etag)
        self._position = start
        if self._is_expected(start):
            self._known.reads += 1
        return self._stream


def _digest_of(found: Listed) -> str:
    return found.key.rpartition("/")[2]


def _is_older(found: Listed, before: float) -> bool:
    return found.modified + CLOCK_SLACK_S < before
