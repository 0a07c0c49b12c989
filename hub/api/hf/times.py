"""Times as the stock client reads them."""

from datetime import UTC, datetime


def format_time(when: datetime) -> str:
    """2026-11-23T06:31:07.120Z"""
    when = when.astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
