"""Guessing takes patience: after ten failures within a quarter of an hour, an address and an account have to wait.

Only failures count, so whoever knows the password signs in as often as they like. Sessions that live go on."""

import hashlib
import ipaddress
import math
import unicodedata
from datetime import datetime, timedelta

from django.db.models import Count, Min
from django.http import HttpRequest

from hub.accounts.models import FailedAttempt
from hub.common.errors import TooManyAttempts

MOST_FAILURES = 10
WINDOW = timedelta(minutes=15)


def subjects_of(request: HttpRequest, act: str, account: str = "") -> list[str]:
    """What the failures of this request are counted for: its address and, if there is one, the account it is about."""
    subjects = [digest_subject(act, "address", address_of(request))]
    # As the form reads a name: in any case, and in any of the ways to write its letters.
    name = unicodedata.normalize("NFKC", account).strip().casefold()
    return [*subjects, digest_subject(act, "account", name)] if name else subjects


def digest_subject(act: str, kind: str, name: str) -> str:
    return hashlib.sha256(f"{act}:{kind}:{name}".encode(errors="replace")).hexdigest()


def address_of(request: HttpRequest) -> str:
    """The address of who asks; of IPv6 the network, of which one household has all addresses.

    A proxy on this machine says last for whom it asks; nobody else is believed."""
    text = str(request.META.get("REMOTE_ADDR", ""))
    try:
        peer = ipaddress.ip_address(text)
        if peer.is_loopback and "X-Forwarded-For" in request.headers:
            peer = ipaddress.ip_address(request.headers["X-Forwarded-For"].rpartition(",")[2].strip())
    except ValueError:
        return text
    if isinstance(peer, ipaddress.IPv4Address):
        return str(peer)
    return str(peer.ipv4_mapped or ipaddress.ip_network((int(peer), 64), strict=False))


def check_patience(subjects: list[str], *, now: datetime) -> None:
    """Raises TooManyAttempts while one of the subjects has to wait. What is refused here does not count."""
    recent = FailedAttempt.objects.filter(subject__in=subjects, at__gt=now - WINDOW)
    counted = recent.values("subject").annotate(number=Count("pk"), first=Min("at"))
    waits = [row["first"] + WINDOW - now for row in counted if row["number"] >= MOST_FAILURES]
    if waits:
        wait_s = math.ceil(max(waits).total_seconds())
        raise TooManyAttempts(
            f"That failed {MOST_FAILURES} times in a row; wait {math.ceil(wait_s / 60)} min, then try again.",
            headers={"Retry-After": str(wait_s)},
        )


def note_failure(subjects: list[str], *, now: datetime) -> None:
    FailedAttempt.objects.filter(at__lte=now - WINDOW).delete()
    FailedAttempt.objects.bulk_create([FailedAttempt(subject=subject, at=now) for subject in subjects])


def forget_failures(subject: str) -> None:
    """Of an account whose owner has signed in. Its address goes on counting: one's own account is no way around it."""
    FailedAttempt.objects.filter(subject=subject).delete()
