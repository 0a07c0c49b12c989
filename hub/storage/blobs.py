"""The byte store: whole files over deduplicated chunks, the only truth of large bytes.

Every door leads here. HTTP, git, LFS and browser uploads come through `add`, the Xet door through `add_xorb` and
`add_shard`; whichever it was, a file is known by SHA-256 and by Xet hash and can be read through every door."""

import hashlib
import io
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from hub.storage import sweep as sweeping
from hub.storage.bucket import Bucket
from hub.storage.chunk_index import ChunkIndex
from hub.storage.direct import DirectWriter
from hub.storage.disk import incoming_file, publish, replace
from hub.storage.errors import DigestMismatch, InvalidRange, MalformedXorb, TooLarge, UnknownContent
from hub.storage.footprint import Footprint, measure
from hub.storage.ingest import Ingest
from hub.storage.reading import PIECE_BYTES, FileBytes, FileReader
from hub.storage.records import Records, StoredFile, describe
from hub.storage.running_digest import RunningDigests, Waiting
from hub.storage.sweep import SweepReport
from hub.storage.xet import hashes
from hub.storage.xet.reconstruction import Plan, plan_download
from hub.storage.xet.shards import FileDescription, format_dedup_shard, parse_shard
from hub.storage.xet.verification import Verifier
from hub.storage.xet.xorbs import XorbIndex, mask_chunks, receive_xorb

__all__ = ["BlobStore", "StoredFile", "SweepReport"]

MAX_FILE_BYTES = 1 << 40  # 1 TiB
CACHE_BYTES = 10 * 1024**3  # copies of xorbs beside a bucket
_KEY_PERIOD_S = 7 * 24 * 3600  # deduplication answers are keyed anew each week and expire at the end of the next one


class BlobStore:
    """Safe between threads and processes, and after a kill at any moment. Same content is stored once."""

    def __init__(
        self,
        root: Path,
        *,
        bucket: Bucket | None = None,
        cache_bytes: int = CACHE_BYTES,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        """All of it in the folder `root`, or xorbs and records in a bucket; then `root` holds what is on its way, the
        index of chunks, and copies of xorbs that are read again and again, up to `cache_bytes`."""
        self.root = Path(root)
        self.max_file_bytes = max_file_bytes
        self._records = Records(self.root, bucket, cache_bytes=cache_bytes)
        self._index = ChunkIndex(self.root / "chunks.sqlite", self._records.list_indexes)
        self._running = RunningDigests(self._records)

    def add(
        self,
        pieces: Iterable[bytes],
        *,
        expected_sha256: str | None = None,
        expected_size: int | None = None,
        left_behind: dict[str, int] | None = None,
    ) -> StoredFile:
        """Store a file that arrives in pieces of any size.

        Raises DigestMismatch if it is not what was announced, TooLarge beyond `max_file_bytes`; `left_behind` then tells
        what stays until a sweep: xorb -> bytes."""
        digest = hashlib.sha256()
        with Ingest(self._records, self._index, left_behind) as ingest:
            ingest.take(self._watch(pieces, digest.update, expected_size))
            sha256 = digest.hexdigest()
            if expected_sha256 is not None and sha256 != expected_sha256:
                raise DigestMismatch(f"The bytes have SHA-256 {sha256}, not {expected_sha256} as announced.")
            return self._records.register(ingest.finish(sha256))

    def find(self, sha256: str) -> StoredFile | None:
        description = self._records.find(sha256)
        return None if description is None else describe(description)

    def find_by_xet(self, xet_hash: str) -> StoredFile | None:
        description = self._records.find_by_xet(xet_hash)
        return None if description is None else describe(description)

    def renew(self, sha256: str) -> StoredFile | None:
        """Like `find`, and keeps the next sweeps away for a grace: for a door that answers "already here"."""
        description = self._records.find(sha256)
        return None if description is None else self._records.register(description)

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes [start, end) in pieces of at most 256 KiB; an `end` behind the file is shortened.

        Raises UnknownContent or InvalidRange at once, not with the first piece."""
        content = self._content(sha256)
        end = content.size if end is None else min(end, content.size)
        if not 0 <= start <= end:
            raise InvalidRange(f"The range {start} to {end} lies outside the file of {content.size} bytes.")
        return content.read(start, end)

    def open(self, sha256: str) -> BinaryIO:
        """Seekable reader, for headers and Parquet. Raises UnknownContent."""
        return io.BufferedReader(FileReader(self._content(sha256)))

    def copy_to(self, sha256: str, destination: Path) -> None:
        """Write the file to a path outside the store; it appears there complete. Raises UnknownContent."""
        pieces = self.read(sha256)
        with incoming_file(destination.parent) as file:
            for piece in pieces:
                file.write(piece)
            replace(file, destination)

    def add_xorb(self, xorb_hash: str, pieces: Iterable[bytes], *, upload: str | None = None) -> bool:
        """Store a xorb from a client; True if it is new. Raises MalformedXorb.

        All of it is unpacked and hashed even if it is here already: only who sends the bytes has shown to hold them.
        `upload`: 64 hexadecimal digits that the xorbs of one upload and its shard share; then the SHA-256 is taken of
        the file while it arrives."""
        if not hashes.is_hex_hash(xorb_hash):
            raise MalformedXorb("A xorb is named by 64 lower-case hexadecimal digits.")
        if upload is None:
            return self._take_xorb(xorb_hash, pieces)
        self._running.announce(upload, xorb_hash)
        is_new = self._take_xorb(xorb_hash, pieces)
        self._running.note_stored(upload, xorb_hash)
        return is_new

    def _take_xorb(self, xorb_hash: str, pieces: Iterable[bytes]) -> bool:
        raw_hash = hashes.from_hex(xorb_hash)
        with incoming_file(self._records.incoming) as file:
            with DirectWriter(file) as target:
                index = receive_xorb(pieces, raw_hash, target)
            if self._records.renew_xorb(raw_hash):
                return False
            is_new = self._records.xorbs.publish(xorb_hash, file)
        self._index.add(index)
        return is_new

    def add_shard(
        self,
        data: bytes,
        *,
        may_use: Callable[[str], bool],
        max_total_bytes: int | None = None,
        check: Callable[[list[FileDescription]], None] | None = None,
        upload: str | None = None,
        waiting: Waiting = nullcontext,
    ) -> list[StoredFile]:
        """Register the files that a client describes, all of them or none, after checking every statement.

        `may_use(xorb hash)`: whether the uploader brought this xorb or may read it; others need a right verification
        hash, which only who holds the chunks can make. `max_total_bytes`: of all files; `check` may raise what stands
        against them, before their bytes are read. `upload`: as with the xorbs;
        `waiting()` is entered where their digests are waited for.
        Raises MalformedShard, NotOwned, DigestMismatch, TooLarge."""
        checked = []
        try:
            descriptions = parse_shard(data)
            self._check_sizes(descriptions, max_total_bytes)
            if check is not None:
                check(descriptions)
            verifier = Verifier(self._records.index_of, may_use)
            for description in descriptions:
                verifier.check(description)
                followed = upload if len(descriptions) == 1 else None
                checked.append(self._check_sha256(description, followed, waiting))
        finally:
            if upload is not None:
                self._running.forget(upload)
        return [self._records.register(description) for description in checked]

    def plan(self, xet_hash: str, start: int = 0, end: int | None = None) -> Plan:
        """Which bytes of which xorbs make up the bytes [start, end) of a file; `hub.storage.xet.reconstruction` writes
        it down as clients read it. Raises UnknownContent, InvalidRange."""
        description = self._records.find_by_xet(xet_hash)
        if description is None:
            raise UnknownContent(f"No file with Xet hash {xet_hash[:64]} is stored here.")
        return plan_download(description, start, end, index_of=self._records.index_of)

    def xorb_size(self, xorb_hash: str) -> int | None:
        """Bytes of a stored xorb, None if it is not stored."""
        return self._records.xorbs.size(xorb_hash) if hashes.is_hex_hash(xorb_hash) else None

    def read_xorb(self, xorb_hash: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end) of a xorb as it is stored, in pieces of at most 256 KiB. Its chunk data starts at byte
        0, so ranges of a download plan are sent from here. Raises FileNotFoundError, with the first piece."""
        with self._records.xorbs.open(xorb_hash) as xorb:
            xorb.expect(start, end)
            while start < end and (piece := xorb.read(start, min(start + PIECE_BYTES, end))):
                start += len(piece)
                yield piece

    def xorb_path(self, xorb_hash: str) -> Path | None:
        """The file of a stored xorb, None if it is not stored, or not as a file."""
        if not hashes.is_hex_hash(xorb_hash):
            return None
        path = self._records.xorbs.path(xorb_hash)
        return path if path is not None and path.is_file() else None

    def chunks_of(self, sha256: str, xorb_hash: str) -> list[tuple[int, int]]:
        """Ranges [first chunk, behind the last) of a xorb that a file is made of; none if it is not stored."""
        description = self._records.find(sha256)
        if description is None or not hashes.is_hex_hash(xorb_hash):
            return []
        raw_hash = hashes.from_hex(xorb_hash)
        terms = (term for term in description.terms if term["xorb"].tobytes() == raw_hash)
        return [(int(term["start"]), int(term["end"])) for term in terms]

    def dedup_shard(
        self,
        chunk_hash: str,
        *,
        may_tell: Callable[[str], bool],
        shown: Callable[[str], Iterable[tuple[int, int]]] | None = None,
        now: float | None = None,
    ) -> bytes | None:
        """Answer to a deduplication query: a shard with the chunks of a xorb that holds this chunk, or None.

        Clients ask about one chunk in a thousand, so xorbs that arrived beside it are told as well.
        `may_tell(xorb hash)`: whether the asker may learn of this xorb; `shown(xorb hash)`: of which chunks in it
        (default: all). In place of the others stand random numbers. Chunk hashes are keyed: the answer shows where own
        chunks are, and a guess about others has to be right for a whole chunk."""
        if not hashes.is_hex_hash(chunk_hash):
            return None
        wanted = hashes.from_hex(chunk_hash)
        for xorb_hash, position in self._index.find(wanted):
            xorb = self._tell(xorb_hash, may_tell, shown)
            if xorb is not None and position < len(xorb) and xorb.hash_at(position) == wanted:
                beside = (
                    self._tell(neighbour, may_tell, shown) for neighbour in self._index.find_neighbours(xorb_hash)
                )
                period = int((time.time() if now is None else now) // _KEY_PERIOD_S)
                return format_dedup_shard(
                    [xorb, *(neighbour for neighbour in beside if neighbour is not None)],
                    key=hashes.key_hash(period.to_bytes(8, "little"), self._secret()),
                    created_s=period * _KEY_PERIOD_S,
                    expires_s=(period + 2) * _KEY_PERIOD_S,
                )
        return None

    def list_files(self) -> Iterator[str]:
        """The SHA-256 of every file, in no particular order; files may come and go meanwhile."""
        return iter(self._records.sha256s)

    def remove_file(self, sha256: str) -> bool:
        """Forget a file at once; its space comes back with the next sweep. False if it is not stored."""
        return sweeping.remove_file(self._records, sha256) is not None

    def sweep(self, keep_sha256: set[str], *, grace_s: float, now: float, dry_run: bool = False) -> SweepReport:
        """Remove what none of `keep_sha256` needs and what nobody touched for `grace_s` before `now` (Unix time).

        Clients remember for three weeks what they uploaded and do not send it again, so let the grace be longer."""
        return sweeping.sweep(self._records, self._index, keep_sha256, grace_s=grace_s, now=now, dry_run=dry_run)

    def measure(self, digests: Iterable[str]) -> Footprint:
        """What the files with these SHA-256 take together."""
        return measure(self._records, digests)

    def rebuild_index(self) -> None:
        """Enter all xorbs into the chunk index again; only ever gains deduplication, never needed for reading."""
        self._index.rebuild()

    def _content(self, sha256: str) -> FileBytes:
        description = self._records.find(sha256)
        if description is None:
            raise UnknownContent(f"No file with SHA-256 {sha256[:64]} is stored here.")
        return FileBytes(self._records, description)

    def _tell(
        self,
        xorb_hash: bytes,
        may_tell: Callable[[str], bool],
        shown: Callable[[str], Iterable[tuple[int, int]]] | None,
    ) -> XorbIndex | None:
        """A xorb for a deduplication answer; it will be used soon, so sweeps stay away."""
        name = hashes.to_hex(xorb_hash)
        if not may_tell(name) or not self._records.renew_xorb(xorb_hash):
            return None
        index = self._records.index_of(xorb_hash)
        return index if index is None or shown is None else mask_chunks(index, shown(name))

    def _watch(
        self, pieces: Iterable[bytes], update: Callable[[bytes], None], expected_size: int | None
    ) -> Iterator[bytes]:
        """Pass the pieces on while counting and hashing them."""
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > self.max_file_bytes:
                raise TooLarge(f"A file holds at most {self.max_file_bytes} bytes here; split it into several files.")
            if expected_size is not None and size > expected_size:
                raise DigestMismatch(f"More than the announced {expected_size} bytes arrived; send the file again.")
            for start in range(0, len(piece), PIECE_BYTES):
                part = piece[start : start + PIECE_BYTES]
                update(part)
                yield part
        if expected_size is not None and size != expected_size:
            raise DigestMismatch(f"Only {size} of the announced {expected_size} bytes arrived; send the file again.")

    def _check_sizes(self, descriptions: list[FileDescription], max_total_bytes: int | None) -> None:
        total = 0
        for description in descriptions:
            total += description.size
            if description.size > self.max_file_bytes:
                raise TooLarge(f"A file holds at most {self.max_file_bytes} bytes here; split it into several files.")
        if max_total_bytes is not None and total > max_total_bytes:
            raise TooLarge(f"These files hold {total} bytes; only {max_total_bytes} more are allowed.")

    def _check_sha256(self, description: FileDescription, upload: str | None, waiting: Waiting) -> FileDescription:
        """The description with the SHA-256 of the bytes. Raises DigestMismatch if another one was stated."""
        known = self._records.find_by_xet(hashes.to_hex(description.file_hash))
        # The file hash is a digest of the content, so the SHA-256 of an equal file need not be computed twice.
        sha256 = known.sha256 if known is not None else None
        if sha256 is None and upload is not None:
            sha256 = self._running.find(upload, description, waiting)
        if sha256 is None:
            digest = hashlib.sha256()
            FileBytes(self._records, description).digest_into(digest.update)
            sha256 = digest.hexdigest()
        if description.sha256 not in (None, sha256):
            raise DigestMismatch(f"The bytes have SHA-256 {sha256}, not {description.sha256} as stated in the shard.")
        return FileDescription(description.file_hash, description.terms, None, sha256)

    def _secret(self) -> bytes:
        """Key of the keys, made once for this store."""
        path = self.root / "dedup.key"
        if not path.exists():
            with incoming_file(self._records.incoming) as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(secrets.token_bytes(hashes.HASH_BYTES))
                publish(file, path)
        return path.read_bytes()
