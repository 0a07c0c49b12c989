"""Whether files were taken out of a history while somebody prepared to write to it: what they found may be gone."""

import secrets
from pathlib import Path

from hub.storage.errors import InvalidOperation
from hub.storage.git.objects import write_durably

STAMP = "purge.stamp"
PURGED_MEANWHILE = "Files were taken out of this history a moment ago; fetch it anew, look, and send your change again."


def read_stamp(folder: Path) -> bytes:
    """Another value after each purge."""
    try:
        return (folder / STAMP).read_bytes()
    except FileNotFoundError:
        return b""


def renew_stamp(folder: Path) -> None:
    write_durably(folder / STAMP, secrets.token_bytes(16))


def refuse_purged(folder: Path, stamp: bytes) -> None:
    """The caller stands in the queue and read `stamp` before it began to prepare. Raises InvalidOperation."""
    if read_stamp(folder) != stamp:
        raise InvalidOperation(PURGED_MEANWHILE)
