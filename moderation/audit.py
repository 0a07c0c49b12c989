"""The audit log: append-only and hash-chained, so that an edit, a gap or a reordering shows."""

import hashlib
import json
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from moderation.models import AuditEntry

FIRST = "0" * 64


def hash_entry(entry: AuditEntry) -> str:
    """sha256 hex over the canonical JSON of everything but the hash itself."""
    content = {
        "number": entry.number,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "data": entry.data,
        "is_public": entry.is_public,
        "previous": entry.previous,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def record(action: str, subject: str, *, by: Any = None, is_public: bool = False, **data: Any) -> AuditEntry:
    """Append an entry in the caller's transaction."""
    for _ in range(5):  # the number is the primary key: of two writers one tries again
        try:
            with transaction.atomic():
                last = AuditEntry.objects.select_for_update().order_by("-number").first()
                entry = AuditEntry(
                    number=last.number + 1 if last else 1,
                    at=timezone.now(),
                    actor=getattr(by, "username", "") or "",
                    action=action,
                    subject=subject[:300],
                    data=data,
                    is_public=is_public,
                    previous=last.hash if last else FIRST,
                )
                entry.hash = hash_entry(entry)
                entry.save(force_insert=True)
                return entry
        except IntegrityError:
            continue
    raise RuntimeError("The audit log could not be written; nothing was decided.")


def verify() -> str:
    """An empty string when the chain is whole, else a sentence that names the first broken entry."""
    previous, expected = FIRST, 1
    for entry in AuditEntry.objects.order_by("number").iterator():
        if entry.number != expected:
            return f"Entry {expected} is missing."
        if entry.previous != previous or entry.hash != hash_entry(entry):
            return f"Entry {entry.number} was changed after it was written."
        previous, expected = entry.hash, expected + 1
    return ""
