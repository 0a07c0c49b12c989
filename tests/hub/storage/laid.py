"""Where a store under test keeps its objects, and how a test looks at them, spoils them and lets them grow old."""

import os
import time
from pathlib import Path
from typing import Protocol

from hub.storage import bucket_objects
from hub.storage.blobs import BlobStore
from hub.storage.bucket import Bucket, parse_store_url
from tests.object_storage import ObjectStorage

DAY_S = 24 * 3600


class Lay(Protocol):
    def url(self, root: Path) -> str:
        """STORE_URL of the store with this root."""

    def open(self, root: Path, **more: int) -> BlobStore: ...

    def list(self, root: Path, kind: str) -> dict[str, int]:
        """Digests and sizes in bytes of all objects of a kind."""

    def cut(self, root: Path, xorb: str, count: int) -> None:
        """Leave away the last `count` bytes of a xorb."""

    def remove(self, root: Path, xorb: str) -> None:
        """As if somebody had lost it."""

    def stray(self, root: Path, name: str) -> None:
        """Leave something that is no object."""

    def make_old(self, root: Path) -> float:
        """Let everything be older than the grace in seconds that is returned; what is renewed from now on is not."""

    def now(self) -> float:
        """The time up to which a renewal made before this call counts as older, and none made after."""


class OnDisk:
    def url(self, root: Path) -> str:
        return ""

    def open(self, root: Path, **more: int) -> BlobStore:
        return BlobStore(root, **more)

    def list(self, root: Path, kind: str) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in (root / kind).rglob("*") if path.is_file()}

    def cut(self, root: Path, xorb: str, count: int) -> None:
        path = self._path(root, xorb)
        path.write_bytes(path.read_bytes()[:-count])

    def remove(self, root: Path, xorb: str) -> None:
        self._path(root, xorb).unlink()

    def stray(self, root: Path, name: str) -> None:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text("left by somebody")

    def make_old(self, root: Path) -> float:
        for path in root.rglob("*"):
            os.utime(path, (1, 1))
        return DAY_S

    def now(self) -> float:
        return time.time()

    def _path(self, root: Path, xorb: str) -> Path:
        return root / "xorbs" / xorb[:2] / xorb[2:4] / xorb


class InBucket:
    """Each store has a prefix of its own in the one bucket, and unless a test wants them no copies on the local disk."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def url(self, root: Path) -> str:
        return self._storage.store_url(str(root).strip("/"))

    def open(self, root: Path, **more: int) -> BlobStore:
        return self.open_on_another_machine(root, root, **more)

    def open_on_another_machine(self, root: Path, local: Path, **more: int) -> BlobStore:
        """The bucket of the store with this root, and a local folder (with its lock) of another one."""
        return BlobStore(local, bucket=self._bucket(root), **{"cache_bytes": 0, **more})

    def list(self, root: Path, kind: str) -> dict[str, int]:
        return {found.key.rpartition("/")[2]: found.size for found in self._bucket(root).list(f"{kind}/")}

    def cut(self, root: Path, xorb: str, count: int) -> None:
        key = self._key(xorb)
        self._bucket(root).put(key, self._bucket(root).get(key)[:-count])

    def remove(self, root: Path, xorb: str) -> None:
        self._bucket(root).delete(self._key(xorb))

    def take_over(self, root: Path, folder: Path) -> None:
        """Copy what a store on disk holds, as any S3 tool does."""
        for kind in ("xorbs", "files", "sha256"):
            for path in (folder / kind).rglob("*"):
                if path.is_file():
                    self._bucket(root).put(path.relative_to(folder).as_posix(), path.read_bytes())

    def stray(self, root: Path, name: str) -> None:
        self._bucket(root).put(name, b"left by somebody")

    def make_old(self, root: Path) -> float:
        time.sleep(12)  # its clock cannot be turned back, and tells whole seconds
        return 10.0

    def now(self) -> float:
        return time.time() + bucket_objects.CLOCK_SLACK_S - 2

    def _bucket(self, root: Path) -> Bucket:
        return Bucket(parse_store_url(self.url(root)))

    def _key(self, xorb: str) -> str:
        return f"xorbs/{xorb[:2]}/{xorb[2:4]}/{xorb}"
