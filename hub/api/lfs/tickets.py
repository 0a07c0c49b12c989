"""The right that an address carries: one object, one direction, one person, for a while. What the person may do is looked
up again at each use."""

from typing import Any

from django.core import signing

from hub.accounts.permissions import can
from hub.api.grants import find_speaker, name_speaker
from hub.common.errors import Forbidden
from hub.repos.models import Repo

SALT = "lfs"
LIFETIME_S = 6 * 3600
LONG_S = 7 * 24 * 3600  # for what is said after the bytes: sending them may have taken days


def make_ticket(repo: Repo, user: Any, oid: str, size: int, direction: str) -> str:
    """`direction`: upload, parts or download."""
    return signing.dumps([repo.pk, name_speaker(user), oid, size, direction], salt=SALT)


def read_ticket(ticket: str, direction: str, *, lifetime_s: int = LIFETIME_S) -> tuple[Repo, Any, str, int]:
    """(repository, person, oid, size). Raises Forbidden for a forged, old or misused address, and when the person may
    not do it any more."""
    try:
        repo_key, speaker, oid, size, kind = signing.loads(ticket, salt=SALT, max_age=lifetime_s)
    except (signing.BadSignature, ValueError):
        raise Forbidden("This transfer address has expired; start the transfer again.") from None
    repo = Repo.objects.for_listing().filter(pk=repo_key).first()
    user = find_speaker(*speaker)
    if kind != direction or repo is None or user is None:
        raise Forbidden("This transfer address is not valid here; start the transfer again.")
    if not can(user, "read_files" if direction == "download" else "propose", repo):
        raise Forbidden("You may not do this in this repository any more.")
    return repo, user, oid, size
