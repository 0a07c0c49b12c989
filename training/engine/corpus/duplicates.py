"""Leaving out what was said before: byte for byte, or nearly. The first in the recipe's order stays.

Near duplicates: MinHash over word 5-grams, 14 bands of 8 rows; a pair that meets in a band counts when its estimated
Jaccard similarity is at least 0.8. Source: https://arxiv.org/abs/2107.06499 (settings of FineWeb)."""

from __future__ import annotations

import hashlib
import re
import zlib

import numpy as np
from numpy.typing import NDArray

BANDS, BAND_ROWS = 14, 8
SHINGLE_WORDS = 5
MIN_SIMILARITY = 0.8
WORD = re.compile(r"\w+")


class ExactFilter:
    """Remembers 16 bytes a document."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def is_new(self, words: str) -> bool:
        digest = hashlib.blake2b(words.encode(), digest_size=16).digest()
        if digest in self.seen:
            return False
        self.seen.add(digest)
        return True


class NearFilter:
    """Remembers one signature (448 bytes) and 14 bucket keys a document."""

    def __init__(self) -> None:
        rng = np.random.Generator(np.random.PCG64(20210714))  # any fixed number: the family of hash functions
        shape = (BANDS * BAND_ROWS, 1)
        # Multiply-shift: the product wraps at 2**64 and its upper half is the hash. Without the wrap all functions
        # would order the shingles alike, and a signature would speak of one shingle only.
        self.a = rng.integers(1 << 40, 1 << 63, shape, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self.b = rng.integers(0, 1 << 63, shape, dtype=np.uint64)
        self.buckets: list[dict[bytes, list[int]]] = [{} for _ in range(BANDS)]
        self.signatures: list[NDArray[np.uint32]] = []

    def is_new(self, words: str) -> bool:
        """False when a kept document is at least 80% alike. Texts under 5 words are left to the exact filter."""
        shingles = hash_shingles(words)
        if not len(shingles):
            return True
        signature = self.sign(shingles)
        keys = [band.tobytes() for band in signature.reshape(BANDS, BAND_ROWS)]
        candidates = {i for key, bucket in zip(keys, self.buckets, strict=True) for i in bucket.get(key, ())}
        if any((self.signatures[i] == signature).mean() >= MIN_SIMILARITY for i in candidates):
            return False
        for key, bucket in zip(keys, self.buckets, strict=True):
            bucket.setdefault(key, []).append(len(self.signatures))
        self.signatures.append(signature)
        return True

    def sign(self, shingles: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """uint32 [112]: the least value of each hash function over the document's shingles."""
        least = np.full(BANDS * BAND_ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
        for start in range(0, len(shingles), 4096):  # bounds memory on book-length documents
            hashed = self.a * shingles[start : start + 4096] + self.b
            least = np.minimum(least, (hashed >> np.uint64(32)).min(axis=1))
        return least.astype(np.uint32)


def hash_shingles(words: str) -> NDArray[np.uint64]:
    """32-bit hashes of the distinct word 5-grams, sorted; empty for texts under 5 words."""
    split = WORD.findall(words.lower())
    grams = {" ".join(split[i : i + SHINGLE_WORDS]) for i in range(len(split) - SHINGLE_WORDS + 1)}
    return np.array(sorted(zlib.crc32(gram.encode()) for gram in grams), dtype=np.uint64)
