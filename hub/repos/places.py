"""Where the bytes of a repository lie."""

from functools import cache
from pathlib import Path

from django.conf import settings

from hub.repos.models import Repo
from hub.storage.blobs import BlobStore
from hub.storage.bucket import Bucket, parse_store_url
from hub.storage.git import RepositoryPair
from hub.storage.uploads import UploadParts


def pair(repo: Repo) -> RepositoryPair:
    """The members' and the public git repository."""
    return RepositoryPair(Path(f"{settings.DATA_DIR}/git/{repo.key[:2]}/{repo.key}"))


@cache
def _store(root: Path, url: str, cache_bytes: int) -> BlobStore:
    return BlobStore(root, bucket=Bucket(parse_store_url(url)) if url else None, cache_bytes=cache_bytes)


def store() -> BlobStore:
    """The one store of large bytes."""
    return _store(Path(settings.DATA_DIR) / "store", settings.STORE_URL, settings.STORE_CACHE_BYTES)


@cache
def _uploads(root: Path) -> UploadParts:
    return UploadParts(root)


def uploads() -> UploadParts:
    """Uploads that are not whole yet."""
    return _uploads(Path(settings.DATA_DIR) / "store" / "parts")
