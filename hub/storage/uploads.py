"""Parts of large uploads on their way: LFS multipart and resumable uploads from a browser.

    <root>/<upload id>/<number, five digits>-<etag>

A part is complete or absent. Its etag is the SHA-256 of its bytes."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from hub.storage.disk import incoming_file, replace
from hub.storage.errors import InvalidOperation, TooLarge, UnknownContent

MAX_PARTS = 10_000
MAX_PART_BYTES = 5 * 1024**3
_PIECE_BYTES = 1024 * 1024
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PART = re.compile(r"(\d{5})-([0-9a-f]{64})")


class UploadParts:
    """Parts of many uploads. Concurrent writers of one part are harmless: the last one wins."""

    def __init__(self, root: Path, *, max_part_bytes: int = MAX_PART_BYTES) -> None:
        self._root = Path(root)
        self._max_part_bytes = max_part_bytes

    def write_part(self, upload_id: str, number: int, pieces: Iterable[bytes]) -> str:
        """Store part `number` (from 1) and return its etag; an earlier version is replaced.

        Raises InvalidOperation for a bad name or number, TooLarge."""
        folder = self._folder(upload_id)
        if not 1 <= number <= MAX_PARTS:
            raise InvalidOperation(f"Part numbers run from 1 to {MAX_PARTS}, so there is no part {number}.")
        digest = hashlib.sha256()
        size = 0
        with incoming_file(folder) as file:
            for piece in pieces:
                size += len(piece)
                if size > self._max_part_bytes:
                    raise TooLarge(f"A part holds at most {self._max_part_bytes} bytes; send smaller parts.")
                digest.update(piece)
                file.write(piece)
            etag = digest.hexdigest()
            earlier = [path for path in folder.glob(f"{number:05}-*") if path.name != f"{number:05}-{etag}"]
            replace(file, folder / f"{number:05}-{etag}")
        for path in earlier:
            path.unlink(missing_ok=True)
        return etag

    def parts(self, upload_id: str) -> dict[int, tuple[str, int]]:
        """Number -> (etag, size in bytes) of what has arrived, in order: where to resume."""
        folder = self._folder(upload_id)
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        found = ((_PART.fullmatch(path.name), path) for path in paths)
        return {int(match[1]): (match[2], path.stat().st_size) for match, path in found if match}

    def assemble(self, upload_id: str, etags: Sequence[str]) -> Iterator[bytes]:
        """The bytes of the parts 1, 2, ... in pieces of at most 1 MiB, if their etags are these.

        Raises UnknownContent at once if a part is missing or another one than stated."""
        folder = self._folder(upload_id)
        stored = self.parts(upload_id)
        for number, etag in enumerate(etags, start=1):
            if number not in stored or stored[number][0] != etag.strip('"'):
                raise UnknownContent(f"Part {number} of upload {upload_id} has not arrived as stated; send it again.")
        if len(stored) != len(etags):
            raise UnknownContent(f"Upload {upload_id} has {len(stored)} parts, but {len(etags)} were listed.")
        return _stream([folder / f"{number:05}-{stored[number][0]}" for number in range(1, len(etags) + 1)])

    def discard(self, upload_id: str) -> None:
        """Forget an upload; not an error if there is none."""
        shutil.rmtree(self._folder(upload_id), ignore_errors=True)

    def discard_older(self, *, grace_s: float, now: float) -> int:
        """Forget uploads to which nothing was added for `grace_s` before `now` (Unix time); returns how many."""
        stale = [
            folder
            for folder in (self._root.iterdir() if self._root.is_dir() else ())
            if folder.is_dir() and folder.stat().st_mtime < now - grace_s
        ]
        for folder in stale:
            shutil.rmtree(folder, ignore_errors=True)
        return len(stale)

    def _folder(self, upload_id: str) -> Path:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise InvalidOperation("An upload id has 1 to 128 letters, digits, hyphens and underscores.")
        return self._root / upload_id


def _stream(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
