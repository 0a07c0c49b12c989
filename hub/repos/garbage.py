"""Giving back the bytes of large files that nothing names any more.

A file goes only when, one after another and without a break for the whole grace, every collection has found it named by
no reference of any repository (of either half: branches, tags, pull requests, candidates) and by none of the rooms
above (runs, releases, attachments), and when no door has touched it for that long. So everything that is taken out
of use can be brought back for the length of the grace: by pushing again, or by giving the old commit a name.

Deleted repositories count like all others until their own grace is over; the same collection removes them for good.

It fails closed: where a repository cannot be read or a room cannot answer, nothing is removed at all."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction

from hub.repos.blobs import index_blob
from hub.repos.deleted import GRACE, remove_expired
from hub.repos.loose import tidy
from hub.repos.models import StoredBlob, UnnamedBlob, UploadedBlob
from hub.repos.places import store, uploads
from hub.storage.blobs import SweepReport
from hub.storage.disk import locked
from hub.storage.git import RepositoryPair
from hub.storage.git.marks import list_named_files

BATCH = 500
LOCK = "garbage.lock"

# Name of a room -> the digests (64 hexadecimal digits) of files that it still needs. Rooms above add themselves.
NEEDED: dict[str, Callable[[], Iterable[str]]] = {}


def needs_files(name: str, list_digests: Callable[[], Iterable[str]]) -> None:
    """Announce, when the program starts, who else keeps files alive."""
    NEEDED[name] = list_digests


@dataclass
class Report:
    """What a collection found, and removed unless it was a rehearsal."""

    ended: int = 0  # deleted repositories that were removed for good
    repositories: int = 0
    named: int = 0  # files that something names
    unnamed: int = 0  # files that nothing names, those within their grace included
    removed: SweepReport = field(default_factory=SweepReport)
    uploads: int = 0  # in parts, to which nothing was added for the whole grace


def collect(*, now: datetime, grace: timedelta = GRACE, dry_run: bool = False) -> Report:
    """One collection; a second one waits for the first. Raises whatever keeps it from knowing what is needed."""
    with locked(Path(settings.DATA_DIR) / LOCK, exclusive=True):
        report = Report(ended=remove_expired(now=now, grace=grace, dry_run=dry_run))
        needed = mark(report, since=now - grace)
        unnamed = note_unnamed(needed, now=now, dry_run=dry_run)
        report.unnamed = len(unnamed)
        doomed = {sha256 for sha256, since in unnamed.items() if since <= now - grace}
        keep = needed | (unnamed.keys() - doomed)
        report.removed = store().sweep(keep, grace_s=grace.total_seconds(), now=now.timestamp(), dry_run=dry_run)
        if not dry_run:
            forget(doomed, before=now - grace)
            report.uploads = uploads().discard_older(grace_s=grace.total_seconds(), now=now.timestamp())
            tidy(named=needed, before=now - grace)
        return report


def mark(report: Report, *, since: datetime) -> set[str]:
    """Every file that something names. Uploads that wait for their commit count as long as they are newer than `since`."""
    needed = set(UploadedBlob.objects.filter(at__gt=since).values_list("sha256", flat=True))
    for both in list_pairs():
        report.repositories += 1
        for half in (both.members, both.public):
            if half.exists():
                needed |= list_named_files(half)
    for list_digests in NEEDED.values():
        needed |= set(list_digests())
    report.named = len(needed)
    return needed


def list_pairs() -> Iterator[RepositoryPair]:
    """All that lie on the disk, whether or not a row knows them: they may be about to get one."""
    for folder in sorted((Path(settings.DATA_DIR) / "git").glob("*/*")):
        if folder.is_dir():
            yield RepositoryPair(folder)


@transaction.atomic
def note_unnamed(needed: set[str], *, now: datetime, dry_run: bool) -> dict[str, datetime]:
    """sha256 -> since when nothing has named it. What is named again starts anew when it is let go the next time."""
    # Both: a file whose row was lost has its grace like any other.
    stored = set(StoredBlob.objects.values_list("sha256", flat=True)) | set(store().list_files())
    known = dict(UnnamedBlob.objects.values_list("sha256", "since"))
    unnamed = {sha256: known.get(sha256, now) for sha256 in stored - needed}
    if not dry_run:
        for batch in batches(sorted(known.keys() - unnamed.keys())):
            UnnamedBlob.objects.filter(sha256__in=batch).delete()
        rows = [UnnamedBlob(sha256=sha256, since=now) for sha256 in sorted(unnamed.keys() - known.keys())]
        UnnamedBlob.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)
    return unnamed


def forget(doomed: set[str], *, before: datetime) -> None:
    """Rows follow the bytes; what a door has touched in the last moment is still there and keeps its rows. Claims go
    when they are from `before`: who brought the bytes again since has a new one."""
    for names in batches(sorted(doomed)):
        batch = [sha256 for sha256 in names if store().find(sha256) is None]
        with transaction.atomic():
            StoredBlob.objects.filter(sha256__in=batch).delete()
            UploadedBlob.objects.filter(sha256__in=batch, at__lte=before).delete()
            UnnamedBlob.objects.filter(sha256__in=batch).delete()
        for sha256 in batch:  # it may have come back since we looked, and its door has found the row that is gone now
            if (stored := store().find(sha256)) is not None:
                index_blob(stored)


def describe(report: Report, *, dry_run: bool = False) -> str:
    removed = report.removed
    done = "Would be removed" if dry_run else "Removed"
    ended = f"{report.ended} deleted repositories end for good. " if report.ended else ""
    return (
        f"{ended}{report.repositories} repositories name {report.named} large files; {report.unnamed} are named by nothing. "
        f"{done}: {removed.files} files, {removed.xorbs} xorbs, {removed.leftovers} leftovers, {removed.freed_bytes:,} bytes; "
        f"{report.uploads} unfinished uploads."
    )


def batches(names: list[str]) -> Iterator[list[str]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))
