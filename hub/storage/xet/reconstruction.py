"""The download plan of a file: which chunks of which xorbs, and where to fetch them.

Only ranges that the file itself uses are handed out: a xorb may hold chunks of other files, too.
Source: https://huggingface.co/docs/xet/download-protocol
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from hub.storage.errors import InvalidRange, StorageError
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription
from hub.storage.xet.xorbs import XorbIndex

UrlFor = Callable[[str, int, int], str]  # (xorb hash, first byte, byte behind the last) -> URL


def plan_download(
    description: FileDescription,
    start: int,
    end: int | None,
    *,
    index_of: Callable[[bytes], XorbIndex | None],
    url_for: UrlFor,
) -> dict[str, Any]:
    """QueryReconstructionResponse (version 1) for the bytes [start, end) of a file.

    Raises InvalidRange if `start` is behind the last byte; an `end` behind it is shortened."""
    size = description.size
    end = size if end is None else min(end, size)
    if size == 0 and start == 0:
        return {"offset_into_first_range": 0, "terms": [], "fetch_info": {}}
    if not 0 <= start < end:
        raise InvalidRange(f"The range {start} to {end} lies outside the file of {size} bytes.")
    terms: list[dict[str, Any]] = []
    ranges: dict[bytes, list[tuple[int, int]]] = {}
    indexes: dict[bytes, XorbIndex] = {}
    offset = 0
    for xorb_hash, first, last, skip, stop in _overlaps(description, start, end):
        index = indexes.get(xorb_hash) or _require(index_of(xorb_hash), xorb_hash)
        indexes[xorb_hash] = index
        base = index.raw_start(first)
        first = bisect_right(index.raw_ends, base + skip)
        last = min(last, bisect_left(index.raw_ends, base + stop) + 1)
        if not terms:
            offset = base + skip - index.raw_start(first)
        terms.append(
            {
                "hash": hashes.to_hex(xorb_hash),
                "unpacked_length": index.raw_size(first, last),
                "range": {"start": first, "end": last},
            }
        )
        ranges.setdefault(xorb_hash, []).append((first, last))
    fetch_info = {
        hashes.to_hex(xorb_hash): [_fetch(indexes[xorb_hash], first, last, url_for) for first, last in _merge(parts)]
        for xorb_hash, parts in ranges.items()
    }
    return {"offset_into_first_range": offset, "terms": terms, "fetch_info": fetch_info}


def _overlaps(description: FileDescription, start: int, end: int) -> Iterator[tuple[bytes, int, int, int, int]]:
    """(xorb, first chunk, behind the last chunk, first byte, behind the last byte) of the terms within [start, end);
    bytes count from the start of the term."""
    term_start = 0
    for term in description.terms:
        term_end = term_start + int(term["size"])
        if term_start >= end:
            return
        if term_end > start:
            skip, stop = max(start - term_start, 0), min(end, term_end) - term_start
            yield term["xorb"].tobytes(), int(term["start"]), int(term["end"]), skip, stop
        term_start = term_end


def _merge(parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Chunk ranges, sorted, with those that touch or overlap joined."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(parts):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _fetch(index: XorbIndex, first: int, last: int, url_for: UrlFor) -> dict[str, Any]:
    start, end = index.packed_range(first, last)
    return {
        "range": {"start": first, "end": last},
        "url": url_for(hashes.to_hex(index.xorb_hash), start, end),
        "url_range": {"start": start, "end": end - 1},  # both inclusive, as in a Range header
    }


def _require(index: XorbIndex | None, xorb_hash: bytes) -> XorbIndex:
    if index is None:
        raise StorageError(f"Xorb {hashes.to_hex(xorb_hash)} is missing; restore it from a backup.")
    return index
