"""Giving space back: files nobody refers to, then xorbs no file refers to, then what broken uploads left.

Nothing younger than the grace is touched. Uploads renew what they use, and a file becomes visible under the same lock
under which a xorb is removed, so a sweep may run at any time. The lock is one machine's: where several share a bucket,
`remove_if_older` gives back what another one renewed at that very moment."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hub.storage.chunk_index import ChunkIndex
from hub.storage.disk import is_abandoned, locked
from hub.storage.objects import look_at_each
from hub.storage.records import Records
from hub.storage.xet import hashes


@dataclass
class SweepReport:
    """What a sweep removed, or would remove."""

    files: int = 0
    xorbs: int = 0
    leftovers: int = 0  # incoming files of uploads that broke off
    freed_bytes: int = 0


def sweep(
    records: Records, index: ChunkIndex, keep_sha256: set[str], *, grace_s: float, now: float, dry_run: bool
) -> SweepReport:
    """Remove everything that none of `keep_sha256` needs and that is older than `grace_s` at `now` (Unix time)."""
    report = SweepReport()
    before = now - grace_s
    dropped: set[bytes] = set()
    for sha256 in records.sha256s.list_older(before):
        if sha256 not in keep_sha256:
            report.files += 1
            dropped.add(_drop_file(records, sha256, before, dry_run=dry_run))
    used = set(_list_used_xorbs(records, dropped))
    for xorb in records.xorbs.list_older(before):
        if hashes.from_hex(xorb) not in used:
            size = _drop_xorb(records, index, xorb, before, dry_run=dry_run)
            report.xorbs += size > 0
            report.freed_bytes += size
    for folder in (records.incoming, records.followed):
        _sweep_incoming(folder, before, report, dry_run=dry_run)
    return report


def remove_file(records: Records, sha256: str) -> bytes | None:
    """Forget one file; its xorbs go with the next sweep. Returns its file hash, None if it is not stored."""
    with locked(records.lock, exclusive=True):
        description = records.find(sha256)
        if description is None:
            return None
        records.sha256s.remove(sha256)
        records.files.remove(hashes.to_hex(description.file_hash))
        return description.file_hash


def _drop_file(records: Records, sha256: str, before: float, *, dry_run: bool) -> bytes:
    """The hash of a file that is gone now, or would be; EMPTY if it stays since an upload has renewed it meanwhile."""
    with locked(records.lock, exclusive=True):
        description = records.find(sha256)
        if description is None:
            return hashes.EMPTY
        file_hash = hashes.to_hex(description.file_hash)
        if records.files.size_if_older(file_hash, before) is None:
            return hashes.EMPTY
        if not dry_run:
            gone = records.sha256s.remove_if_older(sha256, before) and records.files.remove_if_older(file_hash, before)
            return description.file_hash if gone else hashes.EMPTY
    return description.file_hash


def _list_used_xorbs(records: Records, dropped: set[bytes]) -> Iterator[bytes]:
    for description in look_at_each(records.files, records.find_by_xet):
        if description is not None and description.file_hash not in dropped:
            yield from description.xorbs()


def _drop_xorb(records: Records, index: ChunkIndex, xorb: str, before: float, *, dry_run: bool) -> int:
    """Bytes of the removed xorb; 0 if an upload has renewed it meanwhile."""
    with locked(records.lock, exclusive=True):
        size = records.xorbs.size_if_older(xorb, before)
        if size is None or dry_run:
            return size or 0
        content = records.index_of(hashes.from_hex(xorb))
        if not records.xorbs.remove_if_older(xorb, before):
            return 0
    if content is not None:
        index.remove(content)
    return size


def _sweep_incoming(folder: Path, before: float, report: SweepReport, *, dry_run: bool) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # an upload may finish meanwhile
            status = path.stat()
            if status.st_mtime < before and is_abandoned(path):
                report.leftovers += 1
                # A leftover that was published before the crash shares its bytes with the stored file.
                report.freed_bytes += status.st_size if status.st_nlink == 1 else 0
                if not dry_run:
                    path.unlink()
