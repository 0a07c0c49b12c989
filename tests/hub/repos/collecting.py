"""Uploads, deletions and collections, as the tests of garbage do them."""

import random
from datetime import timedelta
from typing import Any

from django.test import TestCase
from django.utils import timezone

from tests.hub.scenes import members_head
from tests.recordings import make_recording

DAY = timedelta(days=1)


def noise(seed: int, count: int = 9_000) -> bytes:
    return make_recording(count, random.Random(seed))


def upload(repo: Any, by: Any, data: bytes) -> Any:
    from hub.repos.blobs import record_upload
    from hub.repos.places import store

    stored = store().add([data])
    record_upload(repo=repo, by=by, stored=stored)
    return stored


def commit_file(repo: Any, by: Any, path: str, stored: Any, **more: Any) -> Any:
    """As the doors do: the operation is prepared, which checks and renews, and then committed."""
    from hub.community.contributions import commit
    from hub.storage.git import AddPointer

    given = {"revision": None, "title": "Add", "door": "api", **more}
    return commit(repo=repo, by=by, operations=[AddPointer(path, stored.sha256, stored.size)], **given)


def collect(days: float = 0, *, now: Any = None, grace: Any = 30 * DAY, dry_run: bool = False) -> Any:
    from hub.repos.garbage import collect

    return collect(now=(now or timezone.now()) + days * DAY, grace=grace, dry_run=dry_run)


def is_stored(stored: Any) -> bool:
    from hub.repos.places import store

    return store().find(stored.sha256) is not None


def delete(repo: Any, by: Any) -> None:
    """With what happens after the transaction, which a test's own never reaches."""
    from hub.repos.lifecycle import delete_repo

    with TestCase.captureOnCommitCallbacks(execute=True):
        delete_repo(repo=repo, by=by)


def first_with(repo: Any, path: str) -> str:
    """The oldest commit of main that holds the path."""
    from hub.repos.places import pair

    members = pair(repo).members
    line = members.ancestors_not_in(members_head(repo), [])
    return next(oid for oid in line if members.entry(oid, path) is not None)


def age(repo: Any, stored: Any) -> None:
    """As if the file had been uploaded long ago."""
    import os

    from hub.repos.models import UploadedBlob
    from hub.repos.places import store

    UploadedBlob.objects.update(at=timezone.now() - 90 * DAY)
    for path in store().root.rglob("*"):
        if path.is_file() and path.name in (stored.sha256, *stored.xorbs):
            os.utime(path, (1, 1))


def forward(since: Any) -> None:
    from hub.repos.models import UnnamedBlob

    UnnamedBlob.objects.update(since=since)
