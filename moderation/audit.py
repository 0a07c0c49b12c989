"""The audit log: append-only and hash-chained, so that an edit, a gap or a reordering shows.

What is cut off at the end cannot show in the chain itself: whoever keeps a signed head (`sign_head`) can prove it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.utils import timezone

from moderation import signing
from moderation.models import AuditEntry

FIRST = "0" * 64
VERIFIED_FOR_S = 60  # the page recomputes the chain at most this often
TRIES = 8  # of two writers one tries again


def canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def content_of(entry: AuditEntry) -> dict[str, Any]:
    """What the hash of an entry is taken over."""
    return {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "data": entry.data,
        "is_public": entry.is_public,
        "previous": entry.previous,
    }


def hash_entry(entry: AuditEntry) -> str:
    """sha256 hex over the canonical JSON of everything but the hash itself."""
    return hashlib.sha256(canonical(content_of(entry))).hexdigest()


def record(action: str, subject: str, *, by: Any = None, is_public: bool = False, **data: Any) -> AuditEntry:
    """Append an entry in the caller's transaction."""
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                last = AuditEntry.objects.select_for_update().order_by("-number").first()
                entry = AuditEntry(
                    number=last.number + 1 if last else 1,
                    at=timezone.now(),
                    actor=getattr(by, "username", "") or "",
                    action=action,
                    subject=subject[:300],
                    data=json.loads(json.dumps(data)),  # as it will be read back, so that the hash holds
                    is_public=is_public,
                    previous=last.hash if last else FIRST,
                )
                entry.hash = hash_entry(entry)
                entry.save(force_insert=True)
                return entry
        except IntegrityError:
            continue
    raise RuntimeError("The audit log could not be written; nothing was decided.")


def verify(entries: Iterable[AuditEntry] | None = None) -> str:
    """An empty string when the chain is whole, else a sentence that names the first broken entry."""
    previous, expected = FIRST, 1
    for entry in AuditEntry.objects.order_by("number").iterator() if entries is None else entries:
        if entry.number != expected:
            return f"Entry {expected} is missing."
        if entry.previous != previous or entry.hash != hash_entry(entry):
            return f"Entry {entry.number} was changed after it was written."
        previous, expected = entry.hash, expected + 1
    return ""


def verify_lately() -> str:
    """`verify`, at most once a minute for the same last entry."""
    last = AuditEntry.objects.order_by("-number").values_list("hash", flat=True).first()
    key = f"audit-verified:{last or FIRST}"
    found: str | None = cache.get(key)
    if found is None:
        found = verify()
        cache.set(key, found, timeout=VERIFIED_FOR_S)
    return found


def sign_head() -> dict[str, Any]:
    """The last entry's number and hash, signed by the hub."""
    last = AuditEntry.objects.order_by("-number").first()
    head = {"number": last.number if last else 0, "hash": last.hash if last else FIRST}
    return {**head, "signature": signing.sign(canonical(head))}


def export_signed(*, is_all: bool) -> Iterator[dict[str, Any]]:
    """`export`, and after it {"head": ...}: the end of exactly these entries, signed together with which of them are told
    without what they say. Else whoever passes the file on could take the words out of a public one."""
    private, last = hashlib.sha256(), {"number": 0, "hash": FIRST}
    for row in export(is_all=is_all):
        if "action" not in row:
            private.update(b"%d\n" % row["number"])
        last = {"number": row["number"], "hash": row["hash"]}
        yield row
    head = {**last, "private": private.hexdigest()}
    yield {"head": {**head, "signature": signing.sign(canonical(head))}}


def export(*, is_all: bool) -> Iterator[dict[str, Any]]:
    """Every entry in order. Of one that is not public, only what keeps the chain together, unless `is_all`."""
    for entry in AuditEntry.objects.order_by("number").iterator():
        if is_all or entry.is_public:
            yield {**content_of(entry), "hash": entry.hash}
        else:
            yield {"number": entry.number, "previous": entry.previous, "hash": entry.hash, "is_public": False}
