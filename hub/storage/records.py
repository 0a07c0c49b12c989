"""What is stored: descriptions of files, the way from SHA-256 to them, and xorbs by hash.

xorbs/aa/bb/<xorb hash>     chunk data and footer
files/aa/<file hash>        a shard of one file: terms and SHA-256
sha256/aa/<sha256>          the file hash, as text

These lie in folders of the root or in a bucket; what is on its way, and the lock, is always local."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hub.storage.bucket import Bucket
from hub.storage.bucket_objects import BucketObjects
from hub.storage.disk import Folder, locked
from hub.storage.errors import StorageError
from hub.storage.objects import Objects, Opened, look_at_each
from hub.storage.read_cache import ReadCache
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, format_shard, parse_shard
from hub.storage.xet.xorbs import XorbIndex, read_index

_CACHED_INDEXES = 64  # of up to 330 KB each, 40 KB usually

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFile:
    """A whole file in the store."""

    sha256: str  # 64 hexadecimal digits
    xet_hash: str  # 64 hexadecimal digits in the Xet form
    size: int  # bytes
    xorbs: tuple[str, ...]  # Xet hex form, each once, in order of appearance


class Records:
    """The tables of the store."""

    xorbs: Objects
    files: Objects
    sha256s: Objects

    def __init__(self, root: Path, bucket: Bucket | None = None, *, cache_bytes: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.incoming = root / "incoming"
        self.followed = root / "followed"  # notes about uploads under way: hub.storage.running_digest
        self.lock = root / "sweep.lock"
        if bucket is None:
            self.xorbs = Folder(root / "xorbs", self.incoming, levels=2)
            self.files = Folder(root / "files", self.incoming, levels=1)
            self.sha256s = Folder(root / "sha256", self.incoming, levels=1)
        else:
            cache = ReadCache(root / "cache", self.incoming, limit_bytes=cache_bytes)
            self.xorbs = BucketObjects(bucket, "xorbs", levels=2, cache=cache)
            self.files = BucketObjects(bucket, "files", levels=1)
            self.sha256s = BucketObjects(bucket, "sha256", levels=1)
        self._indexes: OrderedDict[tuple[object, ...], XorbIndex] = OrderedDict()
        self._indexes_guard = threading.Lock()

    def find(self, sha256: str) -> FileDescription | None:
        if not hashes.is_hex_hash(sha256):
            return None
        try:
            file_hash = self.sha256s.read(sha256).decode()
        except FileNotFoundError:
            return None
        return self.find_by_xet(file_hash)

    def find_by_xet(self, xet_hash: str) -> FileDescription | None:
        if not hashes.is_hex_hash(xet_hash):
            return None
        try:
            return parse_shard(self.files.read(xet_hash))[0]
        except FileNotFoundError:
            return None
        except (StorageError, IndexError) as error:
            raise StorageError(f"The record of file {xet_hash} is damaged; restore it from a backup.") from error

    def register(self, description: FileDescription) -> StoredFile:
        """Make a verified file visible. The first description of a content stays as long as its xorbs are there.

        Raises StorageError if a sweep has taken one of its xorbs meanwhile."""
        xet_hash, sha256 = hashes.to_hex(description.file_hash), str(description.sha256)
        with locked(self.lock, exclusive=False):  # a sweep cannot remove a xorb between this check and the record
            known = self.find_by_xet(xet_hash)
            if known is not None and self.renew_xorbs(known):
                description = known
            elif not self.renew_xorbs(description):
                raise StorageError(f"A part of file {xet_hash} was swept during the upload; upload again.")
            elif known is not None:  # a backup lost something, and this upload brings it back
                self.files.remove(xet_hash)
            # The way in comes last: who finds the SHA-256 finds everything else.
            _keep(self.files, xet_hash, format_shard([description]))
            _keep(self.sha256s, sha256, xet_hash.encode())
        return describe(description)

    def renew_xorbs(self, description: FileDescription) -> bool:
        """Restart the time before a sweep may take the xorbs of a file. False if one of them is not there."""
        return self.xorbs.renew_all(hashes.to_hex(xorb) for xorb in description.xorbs())

    def renew_xorb(self, xorb_hash: bytes) -> bool:
        """Restart the time before a sweep may take the xorb. False if it is not there."""
        return self.xorbs.renew(hashes.to_hex(xorb_hash))

    @contextmanager
    def open_xorb(self, xorb_hash: bytes) -> Iterator[tuple[Opened, XorbIndex]]:
        """The bytes of a xorb, and its index. Raises FileNotFoundError."""
        with self.xorbs.open(hashes.to_hex(xorb_hash)) as xorb:
            yield xorb, self._read_index(xorb_hash, xorb)

    def index_of(self, xorb_hash: bytes) -> XorbIndex | None:
        """Index of a xorb, None if it is not there or too damaged to be used."""
        try:
            with self.open_xorb(xorb_hash) as (_, index):
                return index
        except FileNotFoundError:
            return None
        except StorageError as error:
            log.error("Xorb %s: %s", hashes.to_hex(xorb_hash), error)
            return None

    def list_indexes(self) -> Iterator[XorbIndex]:
        for index in look_at_each(self.xorbs, lambda digest: self.index_of(hashes.from_hex(digest))):
            if index is not None:
                yield index

    def _read_index(self, xorb_hash: bytes, xorb: Opened) -> XorbIndex:
        key = (xorb_hash, *xorb.version)
        with self._indexes_guard:
            if (index := self._indexes.get(key)) is not None:
                self._indexes.move_to_end(key)
                return index
        index = read_index(xorb)
        with self._indexes_guard:
            self._indexes[key] = index
            while len(self._indexes) > _CACHED_INDEXES:
                self._indexes.popitem(last=False)
        return index


def _keep(objects: Objects, digest: str, content: bytes) -> None:
    """Store a record, or keep sweeps away from the one that is there."""
    if not objects.put(digest, content) and not objects.renew(digest):
        raise StorageError(f"Record {digest} was swept during the upload; upload again.")


def describe(description: FileDescription) -> StoredFile:
    return StoredFile(
        sha256=str(description.sha256),
        xet_hash=hashes.to_hex(description.file_hash),
        size=description.size,
        xorbs=tuple(hashes.to_hex(xorb) for xorb in description.xorbs()),
    )
