"""What files take in the store: the same stretch of a xorb counts once, however many files are made of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from hub.storage.records import Records


@dataclass
class Footprint:
    """`whole_bytes` is what copies of all files would take; `unique_bytes` what their different chunks hold; and
    `stored_bytes` what these take, packed."""

    files: int = 0
    whole_bytes: int = 0
    unique_bytes: int = 0
    stored_bytes: int = 0


def measure(records: Records, digests: Iterable[str]) -> Footprint:
    """The footprint of these files together (SHA-256); what is not stored is left out."""
    footprint = Footprint()
    parts: dict[bytes, list[tuple[int, int]]] = {}
    for sha256 in digests:
        description = records.find(sha256)
        if description is None:
            continue
        footprint.files += 1
        footprint.whole_bytes += description.size
        for term in description.terms:
            parts.setdefault(term["xorb"].tobytes(), []).append((int(term["start"]), int(term["end"])))
    for xorb_hash, ranges in parts.items():
        index = records.index_of(xorb_hash)
        if index is None:
            continue
        behind = 0
        for first, last in sorted(ranges):
            first = max(first, behind)
            if first >= last:
                continue
            start, end = index.packed_range(first, last)
            footprint.stored_bytes += end - start
            footprint.unique_bytes += index.raw_size(first, last)
            behind = last
    return footprint
