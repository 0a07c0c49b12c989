"""Files of the byte store that training still needs: checkpoints, and whatever the locks of runs pin, so that a run can be
made again even when its data has left the branches of its repository."""

import re
from collections.abc import Iterator

from hub.community.recipe_locks import LOCK
from hub.repos.garbage import needs_files
from hub.repos.places import pair
from hub.storage.errors import UnknownPath, UnknownRevision
from training.models import Checkpoint, Run

DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def list_needed() -> Iterator[str]:
    for files in Checkpoint.objects.values_list("files", flat=True).iterator():
        yield from (pin["sha256"] for pin in files.values())
    for run in Run.objects.select_related("repo").only("repo", "input_commit").iterator():
        try:
            lock = pair(run.repo).members.read(run.input_commit, LOCK)
        except (UnknownPath, UnknownRevision):
            continue  # it never got as far as a lock, or its history was taken away for good
        yield from (found.decode() for found in DIGEST.findall(lock))


needs_files("training", list_needed)
