"""Who may use which stored bytes. Naming a digest proves nothing: a writer must have shown the bytes, or already read them here."""

from typing import Any

from django.db import transaction
from django.db.models import Q

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.repos.models import BlobXorb, Content, Repo, StoredBlob, UploadedBlob
from hub.repos.places import store
from hub.storage.blobs import StoredFile

__all__ = ["index_blob", "may_commit_blob", "may_learn_of_xorb", "record_upload", "store"]


def index_blob(stored: StoredFile) -> StoredBlob:
    """The row of a file in the byte store."""
    blob, made = StoredBlob.objects.get_or_create(
        sha256=stored.sha256, defaults={"xet_hash": stored.xet_hash, "size": stored.size}
    )
    if made:
        rows = [BlobXorb(blob=blob, xorb=xorb) for xorb in stored.xorbs]
        BlobXorb.objects.bulk_create(rows, ignore_conflicts=True)
    return blob


@transaction.atomic
def record_upload(*, repo: Repo, by: User, stored: StoredFile) -> None:
    """Remember that `by` brought these bytes for `repo`; only then may a commit of theirs name them."""
    index_blob(stored)
    UploadedBlob.objects.get_or_create(repo=repo, sha256=stored.sha256, by=by)


def may_commit_blob(*, repo: Repo, by: User, sha256: str) -> bool:
    """Brought by this person, or part of what they may read in this repository."""
    if UploadedBlob.objects.filter(repo=repo, sha256=sha256, by=by).exists():
        return True
    known = Content.objects.filter(repo=repo, digest=f"sha256:{sha256}")
    if can(by, "read_members", repo):
        return known.exists() or UploadedBlob.objects.filter(repo=repo, sha256=sha256).exists()
    return known.filter(clearance=Content.Clearance.CLEARED).exists()


def may_learn_of_xorb(*, repo: Repo, user: Any, xorb: str) -> bool:
    """Deduplication answers only about one's own uploads here, this repository's readable content, and what is public."""
    shas = list(BlobXorb.objects.filter(xorb=xorb).values_list("blob_id", flat=True)[:500])
    if not shas:
        return False
    if user.is_authenticated and UploadedBlob.objects.filter(repo=repo, by=user, sha256__in=shas).exists():
        return True
    digests = [f"sha256:{sha}" for sha in shas]
    cleared = Q(clearance=Content.Clearance.CLEARED, repo__is_private=False, repo__is_disabled=False)
    cleared &= Q(repo__shows=Repo.Shows.CLEARED)
    mine = Q(repo=repo) if can(user, "read_members", repo) else Q(repo=repo, clearance=Content.Clearance.CLEARED)
    return Content.objects.filter(cleared | mine, digest__in=digests).exists()
