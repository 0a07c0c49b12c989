"""Times as the stock client reads them."""

from datetime import UTC, datetime


def format_time(when: datetime) -> str:
    """2026-11-23T06:31:07.120Z"""
    return f"{when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
