"""What a repository takes, and what storing contents once saves, as its storage page tells it."""

from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Substr

from hub.common.errors import HubError
from hub.repos.models import Content, Repo
from hub.repos.places import store
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.storage.footprint import Footprint

MAX_FILES = 5_000  # whose chunks are looked at for one page
MAX_LISTED = 10


@dataclass(frozen=True)
class RepoFootprint:
    """`history` is of every version of every large file; `main` of those of the main branch. `shared` counts the files
    of the history that other repositories of the reader's sight hold, too."""

    history: Footprint
    main: Footprint
    largest: list[Content]
    shared_files: int
    shared_bytes: int
    left_out: int  # versions beyond MAX_FILES, the smallest

    @property
    def saved_bytes(self) -> int:
        return max(0, self.history.whole_bytes - self.history.stored_bytes)

    @property
    def saved_percent(self) -> int:
        return round(100 * self.saved_bytes / self.history.whole_bytes) if self.history.whole_bytes else 0


def measure_repo(reader: RepoReader) -> RepoFootprint:
    """For members: every version that the repository holds."""
    repo = reader.repo
    rows = large_contents(repo).order_by("-size", "pk")
    counted = list(rows[:MAX_FILES])
    named = {entry.lfs.sha256 for entry in list_main(reader) if entry.lfs is not None}
    elsewhere = find_elsewhere(reader, [row.oid for row in counted])
    return RepoFootprint(
        history=store().measure(row.oid for row in counted),
        main=store().measure(sorted(named & {row.oid for row in counted})),
        largest=counted[:MAX_LISTED],
        shared_files=len(elsewhere),
        shared_bytes=sum(row.size for row in counted if row.oid in elsewhere),
        left_out=rows.count() - len(counted),
    )


def large_contents(repo: Repo) -> Any:
    return (
        Content.objects.select_related("repo")
        .filter(repo=repo, digest__startswith="sha256:")
        .exclude(digest__contains="#")
    )


def list_main(reader: RepoReader) -> list[Any]:
    try:
        return reader.tree(reader.resolve(), recursive=True)
    except (HubError, StorageError):  # nothing there yet, or more than is listed at once
        return []


def find_elsewhere(reader: RepoReader, digests: list[str]) -> set[str]:
    """Those that another repository holds which the reader may read: about others' private ones nothing is told."""
    # Nor about files that are gated or wait for a release.
    open_to_all = {"gated": "", "shows": Repo.Shows.CLEARED, "is_disabled": False}
    others = Repo.objects.visible_to(reader.user).filter(**open_to_all).exclude(pk=reader.repo.pk)
    found: set[str] = set()
    for start in range(0, len(digests), 500):
        names = [f"sha256:{sha256}" for sha256 in digests[start : start + 500]]
        rows = Content.objects.filter(repo__in=others, digest__in=names, clearance=Content.Clearance.CLEARED)
        found.update(rows.annotate(sha256=Substr("digest", 8)).values_list("sha256", flat=True))
    return found
