"""Who may use which stored bytes. Naming a digest proves nothing: a writer must have shown the bytes, or already read them here."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.common.errors import QuotaExceeded
from hub.repos.loose import claim, hold_for, hold_xorbs, is_guest
from hub.repos.models import BlobXorb, Content, Repo, RevisionContent, StoredBlob, UploadedBlob
from hub.repos.places import pair, store
from hub.repos.purge_models import PurgedContent
from hub.repos.purged import refuse_purged
from hub.repos.quotas import check_room, lock_holders
from hub.storage.blobs import StoredFile

__all__ = [
    "index_blob",
    "is_public",
    "list_told_chunks",
    "may_commit_blob",
    "may_leave",
    "record_upload",
    "store",
    "take_in",
]

MAX_FILES = 500  # of one xorb, or commits that brought one file, that are looked at


def index_blob(stored: StoredFile) -> StoredBlob:
    """The row of a file in the byte store."""
    blob, made = StoredBlob.objects.get_or_create(
        sha256=stored.sha256, defaults={"xet_hash": stored.xet_hash, "size": stored.size}
    )
    if made:
        rows = [BlobXorb(blob=blob, xorb=xorb) for xorb in stored.xorbs]
        BlobXorb.objects.bulk_create(rows, ignore_conflicts=True)
    return blob


def take_in(*, repo: Repo, by: User, pieces: Iterable[bytes], **announced: Any) -> StoredFile:
    """Store a file that comes in pieces, and remember who brought it. `announced` is what BlobStore.add checks.

    Raises what `add` and `record_upload` raise; what has come by then counts until it is collected."""
    left: dict[str, int] = {}
    try:
        stored = store().add(pieces, left_behind=left, **announced)
    finally:
        if left:
            hold_xorbs(repo, by, left)
    record_upload(repo=repo, by=by, stored=stored)
    return stored


def record_upload(*, repo: Repo, by: User, stored: StoredFile) -> None:
    """Remember that `by` brought these bytes for `repo`; only then may a commit of theirs name them.

    Raises QuotaExceeded when there is no room for them; then they only count until they are collected.
    Raises Forbidden for what was purged here."""
    refuse_purged(repo, [(f"The file with sha256 {stored.sha256[:12]}…", f"sha256:{stored.sha256}")])
    try:
        with transaction.atomic():
            record_claim(repo, by, stored)
    except QuotaExceeded:
        hold_for(repo, by, {f"sha256:{stored.sha256}": stored.size})
        raise


def record_claim(repo: Repo, by: User, stored: StoredFile) -> None:
    PurgedContent.objects.filter(repo=repo, digest=f"sha256:{stored.sha256}").delete()  # deleted before, brought again
    index_blob(stored)
    row, is_new = UploadedBlob.objects.get_or_create(
        repo=repo, sha256=stored.sha256, by=by, defaults={"is_guest": is_guest(repo, by)}
    )
    if is_new:
        claim(repo, by, stored)
        lock_holders(repo, by)  # another upload at this moment is counted before or after, never not at all
        check_room(repo=repo, by=by, adding=0)
    else:
        UploadedBlob.objects.filter(pk=row.pk).update(at=timezone.now())  # a collection sees that it waits again


def is_public(content: Content) -> bool:
    """Whether strangers may have it: it is cleared, and a commit that they see names it. What is cleared but stands on
    something pending, or waits for its release, is not theirs yet."""
    repo = content.repo
    if (
        content.clearance != Content.Clearance.CLEARED
        or repo.is_private
        or repo.is_disabled
        or repo.deleted_at is not None
    ):
        return False
    brought = RevisionContent.objects.filter(content=content).order_by("pk")
    public = pair(repo).public
    return any(public.has_commit(oid) for oid in brought.values_list("revision__commit", flat=True)[:MAX_FILES])


def may_leave(repo: Repo, sha256: str) -> bool:
    """Whether who may have a large file may take it to another repository. What the hub's own account made here waits
    for its release, even for members: under another name nobody would know of the gate."""
    content = Content.objects.select_related("repo", "added_by").filter(repo=repo, digest=f"sha256:{sha256}").first()
    if content is None:  # uploaded, and in no commit yet
        return UploadedBlob.objects.filter(repo=repo, sha256=sha256, by__is_system=False).exists()
    is_made_here = content.added_by is not None and content.added_by.is_system
    return not is_made_here or is_public(content)


def may_commit_blob(*, repo: Repo, by: User, sha256: str) -> bool:
    """Brought by this person, or part of what they may read in this repository."""
    if UploadedBlob.objects.filter(repo=repo, sha256=sha256, by=by).exists():
        return True
    content = Content.objects.select_related("repo").filter(repo=repo, digest=f"sha256:{sha256}").first()
    if can(by, "read_members", repo):
        return content is not None or UploadedBlob.objects.filter(repo=repo, sha256=sha256).exists()
    return content is not None and can(by, "read_files", repo) and is_public(content)


def list_told_chunks(*, repo: Repo, user: Any, xorb: str) -> list[tuple[int, int]]:
    """Ranges of chunks of a xorb that this person may learn of: those of files they brought for this repository, may
    read in it, or could download anywhere. Files of others may share the xorb; nothing is told about them."""
    shas = list(BlobXorb.objects.filter(xorb=xorb).values_list("blob_id", flat=True)[:MAX_FILES])
    if not shas:
        return []
    ranges = {part for sha256 in list_known(repo, user, shas) for part in store().chunks_of(sha256, xorb)}
    return sorted(ranges)


def list_known(repo: Repo, user: Any, shas: list[str]) -> set[str]:
    """Those of `shas` that this person brought or may read."""
    known: set[str] = set()
    if user.is_authenticated:
        own = UploadedBlob.objects.filter(repo=repo, by=user, sha256__in=shas)
        known |= set(own.values_list("sha256", flat=True))
    contents = Content.objects.filter(digest__in=[f"sha256:{sha256}" for sha256 in shas if sha256 not in known])
    if can(user, "read_members", repo):
        known |= digests_of(contents.filter(repo=repo))
    open_to_all = {"repo__is_private": False, "repo__is_disabled": False, "repo__deleted_at": None}
    cleared = Q(clearance=Content.Clearance.CLEARED, **open_to_all)
    for content in contents.filter(cleared).select_related("repo")[:MAX_FILES]:
        sha256 = content.oid
        is_closed = bool(content.repo.gated) and not can(user, "read_files", content.repo)
        if sha256 not in known and not is_closed and is_public(content):
            known.add(sha256)
    return known


def digests_of(contents: Iterable[Content]) -> set[str]:
    return {content.oid for content in contents}
