"""The download plan of a file: which chunks of which xorbs, and where to fetch them.

Only ranges that the file itself uses are handed out: a xorb may hold chunks of other files, too.
Source: https://huggingface.co/docs/xet/download-protocol
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hub.storage.errors import InvalidRange, StorageError
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription
from hub.storage.xet.xorbs import XorbIndex

Parts = list[tuple[int, int]]  # (first byte, byte behind the last) within a xorb, sorted, apart from each other
UrlFor = Callable[[str, Parts], str]  # (xorb hash, parts) -> URL that gives exactly these bytes of the xorb

MAX_PARTS_PER_URL = 64  # they are named in the address, which has to stay short


@dataclass
class Plan:
    """What to fetch for a stretch of a file."""

    offset: int = 0  # bytes of the first term to leave out
    terms: list[dict[str, Any]] = field(default_factory=list)
    ranges: dict[bytes, list[tuple[int, int]]] = field(default_factory=dict)  # xorb hash -> chunks [first, behind)
    indexes: dict[bytes, XorbIndex] = field(default_factory=dict)


def plan_download(
    description: FileDescription, start: int, end: int | None, *, index_of: Callable[[bytes], XorbIndex | None]
) -> Plan:
    """The plan for the bytes [start, end) of a file.

    Raises InvalidRange if `start` is behind the last byte; an `end` behind it is shortened."""
    size = description.size
    end = size if end is None else min(end, size)
    plan = Plan()
    if size == 0 and start == 0:
        return plan
    if not 0 <= start < end:
        raise InvalidRange(f"The range {start} to {end} lies outside the file of {size} bytes.")
    for xorb_hash, first, last, skip, stop in _overlaps(description, start, end):
        index = plan.indexes.get(xorb_hash) or _require(index_of(xorb_hash), xorb_hash)
        plan.indexes[xorb_hash] = index
        base = index.raw_start(first)
        first = bisect_right(index.raw_ends, base + skip)
        last = min(last, bisect_left(index.raw_ends, base + stop) + 1)
        if not plan.terms:
            plan.offset = base + skip - index.raw_start(first)
        plan.terms.append(
            {
                "hash": hashes.to_hex(xorb_hash),
                "unpacked_length": index.raw_size(first, last),
                "range": {"start": first, "end": last},
            }
        )
        plan.ranges.setdefault(xorb_hash, []).append((first, last))
    plan.ranges = {xorb_hash: _merge(parts) for xorb_hash, parts in plan.ranges.items()}
    return plan


def as_version_1(plan: Plan, url_for: UrlFor) -> dict[str, Any]:
    """QueryReconstructionResponse: an address for each stretch of a xorb."""
    return {
        "offset_into_first_range": plan.offset,
        "terms": plan.terms,
        "fetch_info": {
            hashes.to_hex(xorb_hash): [_fetch_one(plan.indexes[xorb_hash], *chunks, url_for) for chunks in ranges]
            for xorb_hash, ranges in plan.ranges.items()
        },
    }


def as_version_2(plan: Plan, url_for: UrlFor) -> dict[str, Any]:
    """QueryReconstructionResponseV2: one address for all stretches of a xorb, which are fetched by one request."""
    return {
        "offset_into_first_range": plan.offset,
        "terms": plan.terms,
        "xorbs": {
            hashes.to_hex(xorb_hash): [
                _fetch_many(plan.indexes[xorb_hash], ranges[start : start + MAX_PARTS_PER_URL], url_for)
                for start in range(0, len(ranges), MAX_PARTS_PER_URL)
            ]
            for xorb_hash, ranges in plan.ranges.items()
        },
    }


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


def _fetch_one(index: XorbIndex, first: int, last: int, url_for: UrlFor) -> dict[str, Any]:
    start, end = index.packed_range(first, last)
    return {
        "range": {"start": first, "end": last},
        "url": url_for(hashes.to_hex(index.xorb_hash), [(start, end)]),
        "url_range": {"start": start, "end": end - 1},  # both inclusive, as in a Range header
    }


def _fetch_many(index: XorbIndex, ranges: list[tuple[int, int]], url_for: UrlFor) -> dict[str, Any]:
    parts = [index.packed_range(first, last) for first, last in ranges]
    return {
        "url": url_for(hashes.to_hex(index.xorb_hash), parts),
        "ranges": [
            {"chunks": {"start": first, "end": last}, "bytes": {"start": start, "end": end - 1}}
            for (first, last), (start, end) in zip(ranges, parts, strict=True)
        ],
    }


def _require(index: XorbIndex | None, xorb_hash: bytes) -> XorbIndex:
    if index is None:
        raise StorageError(f"Xorb {hashes.to_hex(xorb_hash)} is missing; restore it from a backup.")
    return index
