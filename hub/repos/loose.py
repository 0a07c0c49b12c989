"""Bytes that lie in the store without a file that counts: xorbs that no shard has named, uploads that were refused after
they had come, parts that wait for the rest, files of deleted repositories.

They take room until a collection gives them back, and count until then for who brought them: otherwise whoever sends and
deletes by turns could fill the disk within any quota."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Substr
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.accounts.permissions import can
from hub.repos.models import BlobXorb, Content, LooseBytes, Repo, StoredBlob, UploadedBlob
from hub.repos.places import store
from hub.storage.blobs import StoredFile

TEXTS = "texts:"  # parts of what will be text in git as far as its name and size tell: bounded, but part of no quota
SQL_BATCH = 500  # values in one IN (...)
OVERHEAD = 16  # a xorb of which all but 1/16 and a block is claimed is claimed: the rest is headers and hashes
BLOCK = 4096


def is_guest(repo: Repo, by: User) -> bool:
    return not by.is_system and not can(by, "write", repo)


def payer_of(repo: Repo, by: User) -> dict[str, Any]:
    """For whom it counts what this person brings to this repository."""
    owner = by if is_guest(repo, by) else repo.owner
    return {"organization": owner} if isinstance(owner, Organization) else {"user": owner}


def hold(
    payer: dict[str, Any], sizes: dict[str, int], *, repo: Repo | None = None, now: datetime | None = None
) -> None:
    """Count `sizes` (name -> bytes) from now on. What counts already stays as it is, but begins its time anew."""
    now = now or timezone.now()
    names = list(sizes)
    for start in range(0, len(names), SQL_BATCH):
        batch = names[start : start + SQL_BATCH]
        LooseBytes.objects.filter(**payer, name__in=batch).update(at=now)
        rows = [LooseBytes(**payer, repo=repo, name=name, size=sizes[name], at=now) for name in batch]
        LooseBytes.objects.bulk_create(rows, ignore_conflicts=True)


def hold_for(repo: Repo, by: User, sizes: dict[str, int]) -> None:
    hold(payer_of(repo, by), sizes, repo=None if is_guest(repo, by) else repo)


def hold_xorbs(repo: Repo, by: User, sizes: dict[str, int]) -> None:
    """xorb hash -> bytes. Of those that files of this person are made of, the rest counts already."""
    xorbs, own = list(sizes), set()
    used = BlobXorb.objects.filter(blob__in=UploadedBlob.objects.filter(by=by).values("sha256"))
    for start in range(0, len(xorbs), SQL_BATCH):
        own |= set(used.filter(xorb__in=xorbs[start : start + SQL_BATCH]).values_list("xorb", flat=True))
    hold_for(repo, by, {f"xorb:{xorb}": size for xorb, size in sizes.items() if xorb not in own})


def is_held(repo: Repo, by: User, name: str) -> bool:
    return LooseBytes.objects.filter(**payer_of(repo, by), name=name).exists()


def let_go(repo: Repo, by: User, name: str) -> None:
    LooseBytes.objects.filter(**payer_of(repo, by), name=name).delete()


def claim(repo: Repo, by: User, stored: StoredFile) -> None:
    """A file counts from now on, so as many bytes of its xorbs do not: never more than it has itself."""
    rows = LooseBytes.objects.filter(**payer_of(repo, by))
    if not rows.exists():
        return
    rows.filter(name=f"sha256:{stored.sha256}").delete()
    left = stored.size
    for start in range(0, len(stored.xorbs), SQL_BATCH):
        names = [f"xorb:{xorb}" for xorb in stored.xorbs[start : start + SQL_BATCH]]
        for row in rows.filter(name__in=names).order_by("pk"):
            taken = min(row.size, left)
            left -= taken
            row.size -= taken
            whole = store().xorb_size(row.name.removeprefix("xorb:")) or 0
            if row.size <= whole // OVERHEAD + BLOCK:
                row.delete()
            else:
                row.save(update_fields=["size"])


def count_loose(**whose: Any) -> int:
    """Bytes, of `user=`, `organization=` or `repo=`."""
    rows = LooseBytes.objects.filter(**whose).exclude(name__startswith=TEXTS)
    return rows.aggregate(sum=Sum("size"))["sum"] or 0


def count_waiting_texts(repo: Repo, by: User) -> int:
    """Bytes of texts that lie in parts and wait for their commit, of who pays for this person here."""
    rows = LooseBytes.objects.filter(**payer_of(repo, by), name__startswith=TEXTS)
    return rows.aggregate(sum=Sum("size"))["sum"] or 0


def count_xorbs(repo: Repo, by: User, xorbs: Iterable[str]) -> int:
    """Bytes that count for these xorbs and that a claim could take over."""
    names = [f"xorb:{xorb}" for xorb in dict.fromkeys(xorbs)]
    batches = (names[start : start + SQL_BATCH] for start in range(0, len(names), SQL_BATCH))
    return sum(count_loose(**payer_of(repo, by), name__in=batch) for batch in batches)


def list_files_of(repo: Repo) -> dict[User | Organization, dict[str, int]]:
    """Who pays -> sha256 -> bytes of the large files of a repository."""
    claims = UploadedBlob.objects.filter(repo=repo)
    brought: dict[User | Organization, set[str]] = {repo.owner: set()}
    for row in claims.select_related("by").iterator():
        brought.setdefault(row.by if row.is_guest else repo.owner, set()).add(row.sha256)
    committed = Content.objects.filter(repo=repo, digest__startswith="sha256:").exclude(digest__contains="#")
    names = set(committed.annotate(sha256=Substr("digest", 8)).values_list("sha256", flat=True))
    brought[repo.owner] |= names.difference(*brought.values())
    return {holder: sizes_of(sorted(shas)) for holder, shas in brought.items()}


def sizes_of(shas: list[str]) -> dict[str, int]:
    """sha256 -> bytes of those that are stored."""
    found: dict[str, int] = {}
    for start in range(0, len(shas), SQL_BATCH):
        rows = StoredBlob.objects.filter(pk__in=shas[start : start + SQL_BATCH])
        found.update(rows.values_list("sha256", "size"))
    return found


def tidy(*, named: set[str], before: datetime) -> None:
    """After a collection: forget what it gave back, and files that count for somebody else who needs them."""
    gone = []
    for pk, name, at in LooseBytes.objects.values_list("pk", "name", "at").iterator():
        kind, _, digest = name.partition(":")
        if kind == "sha256":
            is_gone = (at <= before and digest in named) or store().find(digest) is None
        elif kind == "xorb":
            is_gone = at <= before and store().xorb_size(digest) is None
        else:
            is_gone = at <= before
        if is_gone:
            gone.append(pk)
    for start in range(0, len(gone), SQL_BATCH):
        LooseBytes.objects.filter(pk__in=gone[start : start + SQL_BATCH]).delete()
