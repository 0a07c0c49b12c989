"""Tickets for the streaming listener: the page that may show a job hands one out, the listener only checks it."""

from django.core import signing

SALT = "live"
LIFETIME_S = 12 * 3600


def make_ticket(job_id: object) -> str:
    return signing.TimestampSigner(salt=SALT).sign(str(job_id))


def read_ticket(ticket: str) -> str | None:
    """The job it is for, or None when it is forged or old."""
    try:
        return signing.TimestampSigner(salt=SALT).unsign(ticket, max_age=LIFETIME_S)
    except signing.BadSignature:
        return None
