"""The SHA-256 of a large file, taken while its xorbs still arrive.

Only the shard, last of all, says which xorbs make up a file. To read them again only then keeps the client waiting for as long
as the disk takes. But clients send the xorbs of a file in order. So one of the processes that receive an upload follows it: it
reads each xorb as soon as that and those before it are stored, and notes the digest up to there. If the shard then names exactly
these xorbs, whole and in this order, its digest is known. If not, the file is read as ever: a wrong guess costs time and
nothing else, for what is noted is the digest of bytes that the store has proven.

An upload has one file. Its lines, each appended in one write by whichever process it is:

    > <xorb hash>   a xorb begins to arrive
    = <xorb hash>   it is stored
    # <k> <sha256>  the digest of the first k xorbs

Who follows holds the lock of that file, as writers of incoming files do; a sweep takes it once nobody does. They lie in a
folder of their own: what is on its way is content, and these are none."""

import fcntl
import hashlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from hub.storage.errors import StorageError
from hub.storage.reading import FileBytes
from hub.storage.records import Records
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, make_terms

AT_ONCE = 2  # uploads that one process follows
PATIENCE_S = 20.0  # without a new line, then an upload is no longer followed
WAIT_S = 3.0  # for the next digest, then the file is read
MOST_WAIT_S = 60.0  # for all of them
MAX_NOTES = 4 * 1024**2  # bytes: some 20,000 xorbs
_UPLOAD = re.compile(r"[0-9a-f]{1,64}")
_DIGEST = re.compile(r"# ([0-9]{1,9}) ([0-9a-f]{64})")

Waiting = Callable[[], AbstractContextManager[object]]
log = logging.getLogger(__name__)


class Notes:
    """The lines of one upload, as far as they are read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._position = 0
        self.order: list[str] = []  # xorbs as they began to arrive
        self._announced: set[str] = set()
        self.stored: set[str] = set()
        self.digests: list[str] = []
        self.is_torn = False

    def read_on(self) -> bool:
        """Whether there was something new."""
        piece = os.pread(self._descriptor, MAX_NOTES, self._position)
        self._position += len(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            mark, _, value = line.decode(errors="replace").partition(" ")
            if mark == ">":
                if value not in self._announced:  # else sent again after a broken connection
                    self._announced.add(value)
                    self.order.append(value)
            elif mark == "=":
                self.stored.add(value)
            else:
                self._take_digest(line.decode(errors="replace"))
        return bool(lines)

    def _take_digest(self, line: str) -> None:
        """A line that a full disk cut in two, or anything else, ends what is believed of this upload."""
        found = _DIGEST.fullmatch(line)
        if found and not self.is_torn and int(found[1]) == len(self.digests) + 1:
            self.digests.append(found[2])
        else:
            self.is_torn = True

    def are_gone(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0


class RunningDigests:
    """Of all uploads to one store; several processes may each have their own."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._free = threading.BoundedSemaphore(AT_ONCE)

    def announce(self, upload: str, xorb_hash: str) -> None:
        """A xorb of this upload (at most 64 hexadecimal digits) begins to arrive."""
        with _only_a_guess():
            self._note(upload, f"> {xorb_hash}\n")

    def note_stored(self, upload: str, xorb_hash: str) -> None:
        """It is stored. From the second one on somebody follows: a single xorb is read in no time."""
        with _only_a_guess():
            if self._note(upload, f"= {xorb_hash}\n") > 2 * len(f"> {xorb_hash}\n"):
                self._follow(upload)

    def find(self, upload: str, description: FileDescription, waiting: Waiting = nullcontext) -> str | None:
        """The SHA-256 of a file that consists of the xorbs of this upload, None if it is not known and will not be soon.
        Waits within `waiting()`."""
        xorbs = [hashes.to_hex(term["xorb"].tobytes()) for term in description.terms]
        if len(xorbs) < 2 or not self._are_whole(description):
            return None
        try:
            descriptor = os.open(self._path(upload), os.O_RDONLY)
        except (FileNotFoundError, ValueError):
            return None
        try:
            with waiting():
                return self._await(Notes(descriptor), descriptor, xorbs)
        finally:
            os.close(descriptor)

    def forget(self, upload: str) -> None:
        """What comes now is another file."""
        with suppress(FileNotFoundError, ValueError):
            self._path(upload).unlink()

    def _await(self, notes: Notes, descriptor: int, xorbs: Sequence[str]) -> str | None:
        until = time.monotonic() + WAIT_S
        last = time.monotonic() + MOST_WAIT_S
        known = -1
        while True:
            is_followed = not _try_lock(descriptor, fcntl.LOCK_SH)  # first, so that the last lines are not missed
            notes.read_on()
            if notes.is_torn or notes.order[: len(xorbs)] != xorbs:
                return None
            if len(notes.digests) >= len(xorbs):
                return notes.digests[len(xorbs) - 1]
            if len(notes.digests) > known:
                known, until = len(notes.digests), time.monotonic() + WAIT_S
            if not is_followed or time.monotonic() > min(until, last):
                return None
            time.sleep(0.005)

    def _are_whole(self, description: FileDescription) -> bool:
        for term in description.terms:
            index = self._records.index_of(term["xorb"].tobytes())
            if index is None or int(term["start"]) or int(term["end"]) != len(index):
                return False
        return True

    def _path(self, upload: str) -> Path:
        if not _UPLOAD.fullmatch(upload):
            raise ValueError("an upload is named by at most 64 hexadecimal digits")
        return self._records.followed / upload

    def _note(self, upload: str, line: str) -> int:
        """Bytes of all notes so far; too many are not kept."""
        path = self._path(upload)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < MAX_NOTES:
                os.write(descriptor, line.encode())
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _follow(self, upload: str) -> None:
        """Unless somebody does, or this process has enough to follow."""
        if not self._free.acquire(blocking=False):
            return
        try:
            descriptor = os.open(self._path(upload), os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            self._free.release()
            return
        if not _try_lock(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            self._free.release()
            return
        follower = threading.Thread(target=self._run, args=(upload, descriptor), name="running-digest", daemon=True)
        try:
            follower.start()
        except RuntimeError:  # no more threads
            os.close(descriptor)
            self._free.release()

    def _run(self, upload: str, descriptor: int) -> None:
        try:
            self._digest(Notes(descriptor), descriptor)
        except (OSError, StorageError) as problem:  # swept meanwhile, a full disk: the shard will say so
            log.info("An upload is no longer followed: %s", problem)
        finally:
            with suppress(OSError):
                if os.stat(self._path(upload)).st_ino == os.fstat(descriptor).st_ino:
                    self.forget(upload)
            os.close(descriptor)
            self._free.release()

    def _digest(self, notes: Notes, descriptor: int) -> None:
        digest = hashlib.sha256()
        done = 0
        quiet_since = time.monotonic()
        notes.read_on()
        if notes.digests:
            return  # of somebody who began before, and whose state went with them
        while not notes.are_gone():
            if done < len(notes.order) and notes.order[done] in notes.stored:
                self._read_xorb(notes.order[done], digest.update)
                done += 1
                line = f"# {done} {digest.hexdigest()}\n".encode()
                if os.write(descriptor, line) < len(line):
                    return  # a full disk
                quiet_since = time.monotonic()
            elif notes.read_on():
                quiet_since = time.monotonic()
            else:
                quiet = time.monotonic() - quiet_since
                if quiet > PATIENCE_S:
                    return
                time.sleep(min(0.25, 0.005 + quiet / 20))

    def _read_xorb(self, xorb_hash: str, update: Callable[[bytes | memoryview], None]) -> None:
        raw_hash = hashes.from_hex(xorb_hash)
        index = self._records.index_of(raw_hash)
        if index is None:
            raise StorageError(f"Xorb {xorb_hash} is not there any more.")
        terms = make_terms([(raw_hash, 0, len(index), index.raw_size(0, len(index)))])
        FileBytes(self._records, FileDescription(raw_hash, terms, None, None)).digest_into(update)


@contextmanager
def _only_a_guess() -> Iterator[None]:
    """What fails here costs the upload nothing but the time that following it would have saved."""
    try:
        yield
    except OSError as problem:
        log.warning("An upload is not followed: %s", problem)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
