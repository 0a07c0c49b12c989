"""Attachments of discussions: pictures, films and sounds, known by their first bytes and by nothing that a client says."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db import transaction
from django.db.models import Count, Min, Sum
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common.errors import Forbidden, HubError, InvalidInput, NotFound, TooLarge, TooManyAttempts
from hub.community.models import Discussion, Event
from hub.community.social_models import Attachment
from hub.repos.deleted import GRACE
from hub.repos.garbage import needs_files
from hub.repos.models import Repo
from hub.repos.places import store

MB = 1000 * 1000
PIECE = 1024 * 1024
HEAD_BYTES = 64  # what is looked at to tell what a file is
MAX_AT_ONCE = 60  # of one person within WINDOW
WINDOW = timedelta(hours=1)
KEPT = GRACE + timedelta(
    days=2
)  # as long as the bytes of a removed one may lie here: it counts, or nothing would bound them
MAX_BYTES = 1000 * MB  # of one person altogether
MAX_COMMENTS = 500  # that are read for the places of one's attachments
SHOWN = re.compile(
    r"(?:!\[(?P<name>[^\]\n]{0,200})\]\()?(?:https?://[^\s/()]{1,200})?(?P<address>/uploads/[0-9a-f]{32}\.\w{3,4})"
)
FILM_BRANDS = (b"isom", b"iso", b"mp4", b"avc1", b"M4V", b"MSNV", b"dash")


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Format:
    content_type: str
    max_bytes: int
    fits: Callable[[bytes], bool]  # the first bytes of a file


def begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(starts)


def is_riff(kind: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


def is_film(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[4:8] == b"ftyp" and head[8:12].startswith(brands)


def is_mp3(head: bytes) -> bool:
    """A tag, or the first frame: eleven bits of ones, then layer III."""
    return head.startswith(b"ID3") or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2)


# Suffix -> what it is. No SVG and no HTML: those are programs for a browser.
FORMATS = {
    "png": Format("image/png", 10 * MB, begins(b"\x89PNG\r\n\x1a\n")),
    "jpg": Format("image/jpeg", 10 * MB, begins(b"\xff\xd8\xff")),
    "gif": Format("image/gif", 10 * MB, begins(b"GIF87a", b"GIF89a")),
    "webp": Format("image/webp", 10 * MB, is_riff(b"WEBP")),
    "mp4": Format("video/mp4", 50 * MB, is_film(*FILM_BRANDS)),
    "mov": Format("video/quicktime", 50 * MB, is_film(b"qt  ")),
    "webm": Format("video/webm", 50 * MB, lambda head: head.startswith(b"\x1aE\xdf\xa3") and b"webm" in head),
    "mp3": Format("audio/mpeg", 10 * MB, is_mp3),
    "wav": Format("audio/wav", 10 * MB, is_riff(b"WAVE")),
}
MOST_BYTES = max(format.max_bytes for format in FORMATS.values())


def tell_format(head: bytes) -> str:
    """The suffix of what begins with these bytes. Raises InvalidInput for what is none of FORMATS."""
    for suffix, format in FORMATS.items():
        if format.fits(head):
            return suffix
    raise InvalidInput(f"This is no file that can be attached: its first bytes are none of {', '.join(FORMATS)}.")


def attach(*, by: User, body: Readable, size: int, now: datetime | None = None) -> Attachment:
    """Store the `size` bytes of `body`. Raises InvalidInput, TooLarge, or TooManyAttempts when a quota is reached."""
    require(by, "attach")
    now = now or timezone.now()
    check_quota(by, size, now)
    head = body.read(min(HEAD_BYTES, size))
    suffix = tell_format(head)
    most = FORMATS[suffix].max_bytes
    if size > most:
        raise TooLarge(f"A {suffix} file has at most {most:,} bytes here, this one {size:,}; make it smaller.")
    stored = store().add(read_pieces(head, body), expected_size=size)  # before the lock: an upload may take minutes
    made = Attachment(user_id=by.pk, sha256=stored.sha256, size=size, suffix=suffix, at=now)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=by.pk)  # two uploads at once must not both be the last allowed
        try:
            check_quota(by, size, now)
        except HubError as problem:
            made.removed_at, refusal = now, problem  # its bytes are here, so they count
        made.save()
    if made.removed_at is not None:
        raise refusal
    return made


def read_pieces(head: bytes, body: Readable) -> Iterator[bytes]:
    yield head
    while piece := body.read(PIECE):
        yield piece


def check_quota(user: User, size: int, now: datetime) -> None:
    own = Attachment.objects.filter(user_id=user.pk)
    own.filter(removed_at__lte=now - KEPT).delete()
    lately = own.filter(at__gt=now - WINDOW).aggregate(count=Count("pk"), first=Min("at"))
    if lately["count"] >= MAX_AT_ONCE:
        wait_s = max(1, int((lately["first"] + WINDOW - now).total_seconds()))
        raise TooManyAttempts(
            f"You attached {lately['count']} files within an hour, which is the most; wait {wait_s // 60 + 1} minutes.",
            headers={"Retry-After": str(wait_s)},
        )
    used = own.aggregate(total=Sum("size"))["total"] or 0
    if used + size > MAX_BYTES:
        raise TooLarge(
            f"Your attachments hold {used:,} of {MAX_BYTES:,} bytes, those that you removed within {KEPT.days} days "
            "included; put this into a dataset."
        )


def find_attachment(name: str) -> Attachment:
    """By the last part of its address, KEY.SUFFIX."""
    key, _, suffix = name.partition(".")
    found = Attachment.objects.filter(key=key, suffix=suffix, removed_at=None).select_related("user").first()
    if found is None:
        raise NotFound("There is no attachment at this address; it may have been removed.")
    return found


def remove_attachment(*, attachment: Attachment, by: Any) -> None:
    """Who brought it and moderators may. Its address shows nothing from now on; its bytes go with a later collection."""
    require(by, "attach")
    if attachment.user_id != by.pk and not can(by, "moderate"):
        raise Forbidden("Only who attached this or a moderator may remove it.")
    attachment.removed_at = timezone.now()
    attachment.save(update_fields=["removed_at"])


@dataclass(frozen=True)
class Use:
    """Where a comment shows an attachment, and what it calls it."""

    name: str
    discussion: Discussion


def find_uses(user: Any) -> dict[str, Use]:
    """Address -> the newest of one's own comments that shows it, among the MAX_COMMENTS newest that one may still read."""
    rows = Event.objects.filter(author=user, kind="comment", discussion__repo__in=Repo.objects.visible_to(user))
    rows = rows.select_related("discussion__repo__owner_user", "discussion__repo__owner_organization")
    found: dict[str, Use] = {}
    for row in rows.order_by("-pk")[:MAX_COMMENTS]:
        for match in SHOWN.finditer(str(row.data.get("text", ""))):
            found.setdefault(match["address"], Use((match["name"] or "").strip(), row.discussion))
    return found


def attachment_digests() -> Iterable[str]:
    """SHA-256 of each attachment: what a collection of garbage has to keep."""
    return Attachment.objects.filter(removed_at=None).values_list("sha256", flat=True).distinct().iterator()


needs_files("attachments", attachment_digests)
