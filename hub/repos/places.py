"""Where the bytes of a repository lie."""

from functools import cache
from pathlib import Path

from django.conf import settings

from hub.repos.models import Repo
from hub.storage.blobs import BlobStore
from hub.storage.git import RepositoryPair
from hub.storage.uploads import UploadParts


def pair(repo: Repo) -> RepositoryPair:
    """The members' and the public git repository."""
    return RepositoryPair(Path(settings.DATA_DIR) / "git" / repo.key[:2] / repo.key)


@cache
def _store(root: Path) -> BlobStore:
    return BlobStore(root)


def store() -> BlobStore:
    """The one store of large bytes."""
    return _store(Path(settings.DATA_DIR) / "store")


@cache
def _uploads(root: Path) -> UploadParts:
    return UploadParts(root)


def uploads() -> UploadParts:
    """Uploads that are not whole yet."""
    return _uploads(Path(settings.DATA_DIR) / "store" / "parts")
