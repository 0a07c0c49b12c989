"""Byte ranges of a request (RFC 9110, section 14). Files answer one range; several at once get the whole file there."""

import re

from hub.common.errors import RangeNotSatisfiable

ONE_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.IGNORECASE)
MAX_DIGITS = 19  # beyond any file


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) with `end` exclusive, or None when the whole file is to be sent.

    Raises RangeNotSatisfiable when the range lies outside a file of `size` bytes."""
    if not header:
        return None
    match = ONE_RANGE.fullmatch(header.strip())
    if match is None:
        return None  # another unit, several ranges, nonsense: the standard says to ignore it
    first, last = match.groups()
    if not first and not last or max(len(first), len(last)) > MAX_DIGITS:
        return None
    if not first:  # the last N bytes
        count = min(int(last), size)
        start, end = size - count, size
    else:
        start = int(first)
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size or end <= start:
        raise RangeNotSatisfiable(
            f"The file has {size:,} bytes; the range {header!r} lies outside it.",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, end


def read_ranges(header: str | None, size: int, *, limit: int) -> list[tuple[int, int]]:
    """Like `read_range`, for up to `limit` ranges; empty when everything is to be sent."""
    unit, _, text = (header or "").partition("=")
    pieces = text.split(",")
    if len(pieces) > limit:
        raise RangeNotSatisfiable(f"Ask for at most {limit} ranges at once; these are {len(pieces)}.")
    found = [read_range(f"{unit}={piece}", size) for piece in pieces]
    return [part for part in found if part is not None] if None not in found else []
