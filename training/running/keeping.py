"""Files of the byte store that training still needs: checkpoints, and whatever the locks of runs pin, so that a run can be
made again even when its data has left the branches of its repository."""

import re
from collections.abc import Iterator

from django.db.models import QuerySet

from hub.community.recipe_locks import LOCK
from hub.repos.garbage import needs_files
from hub.repos.places import pair
from hub.repos.purge_models import PurgedContent
from hub.storage.errors import UnknownPath, UnknownRevision
from training.engine.errors import EngineError
from training.engine.lock import parse_lock
from training.models import Checkpoint, Run

DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def list_needed() -> Iterator[str]:
    for files in Checkpoint.objects.values_list("files", flat=True).iterator():
        yield from (pin["sha256"] for pin in files.values())
    gone = {(key, digest.partition(":")[2]) for key, digest in purged_files()}
    for run in Run.objects.select_related("repo").only("repo", "input_commit").iterator():
        try:
            lock = pair(run.repo).members.read(run.input_commit, LOCK)
        except (UnknownPath, UnknownRevision):
            continue  # it never got as far as a lock, or its history was taken away for good
        found = {digest.decode() for digest in DIGEST.findall(lock)}
        yield from found - (list_purged_pins(lock, gone) if any(sha256 in found for _, sha256 in gone) else set())


def purged_files() -> QuerySet[PurgedContent, tuple[str, str]]:
    """(key of the repository, digest) of every large file that one has purged."""
    return PurgedContent.objects.filter(digest__startswith="sha256:").values_list("repo__key", "digest")


def list_purged_pins(lock: bytes, gone: set[tuple[str, str]]) -> set[str]:
    """Files of a lock that their own repository has purged, and that no other one of the lock holds."""
    try:
        pins = parse_lock(lock.decode()).repositories
    except (EngineError, UnicodeDecodeError):
        return set()
    named = {(pin.key or "", file.sha256) for pin in pins for file in pin.files.values()}
    return {sha256 for _, sha256 in named & gone} - {sha256 for _, sha256 in named - gone}


needs_files("training", list_needed)
