"""Hashes of chunks, xorbs, files and terms.

A hash is 32 raw bytes inside this package. Outside it is the Xet hex form: four little-endian 64-bit numbers,
each printed as 16 digits, so it differs from bytes.hex(). Shards write SHA-256 in the same order.
Source: https://huggingface.co/docs/xet/hashing
"""

import re
from collections.abc import Iterable

from blake3 import blake3

HASH_BYTES = 32
EMPTY = bytes(HASH_BYTES)  # the hash of a file, or of a tree, without chunks

# Fixed by the specification.
_DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
_NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
_VERIFICATION_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")

_MEAN_CHILDREN = 4
_MIN_CHILDREN = 3  # a node ends with a child whose hash is divisible by 4, but never before the third child ...
_MAX_CHILDREN = 2 * _MEAN_CHILDREN + 1  # ... and never after the ninth

_HEX = re.compile(r"[0-9a-f]{64}")


def is_hex_hash(text: str) -> bool:
    """True for 64 lower-case hexadecimal digits; everything else must never reach a file name."""
    return _HEX.fullmatch(text) is not None


def to_hex(raw: bytes) -> str:
    """Xet hex form of 32 raw bytes."""
    return raw[7::-1].hex() + raw[15:7:-1].hex() + raw[23:15:-1].hex() + raw[31:23:-1].hex()


def from_hex(text: str) -> bytes:
    """32 raw bytes of the Xet hex form. Raises ValueError if it is not 64 hexadecimal digits."""
    swapped = bytes.fromhex(text)
    if len(swapped) != HASH_BYTES:
        raise ValueError(f"A hash has 64 hexadecimal digits, not {len(text)}.")
    return swapped[7::-1] + swapped[15:7:-1] + swapped[23:15:-1] + swapped[31:23:-1]


def hash_chunk(data: bytes | memoryview) -> bytes:
    return blake3(data, key=_DATA_KEY).digest()


def hash_range(chunk_hashes: bytes) -> bytes:
    """Verification hash of a term. `chunk_hashes` are the raw hashes of its chunks, concatenated."""
    return blake3(chunk_hashes, key=_VERIFICATION_KEY).digest()


def key_hash(raw: bytes, key: bytes) -> bytes:
    """`raw` under a secret key, so that a list of hashes tells nothing to those who do not hold the data."""
    return blake3(raw, key=key).digest()


def hash_file(root: bytes) -> bytes:
    """Hash of a file from the root of its chunk tree."""
    return EMPTY if root == EMPTY else key_hash(root, EMPTY)


class MerkleTree:
    """Root over (chunk hash, chunk size) pairs that arrive one by one; memory grows with the depth only."""

    def __init__(self) -> None:
        self._open: list[list[tuple[bytes, int]]] = []  # by level: children of the node under construction
        self._count: list[int] = []  # by level: nodes seen so far

    def add(self, chunk_hash: bytes, size_bytes: int) -> None:
        self._add(0, chunk_hash, size_bytes)

    def root(self) -> bytes:
        """The root of what was added so far. The tree is used up afterwards."""
        level = 0
        while level < len(self._open):
            if self._count[level] == 1:
                return self._open[level][0][0]
            if self._open[level]:
                self._close(level)
            level += 1
        return EMPTY

    def _add(self, level: int, node_hash: bytes, size_bytes: int) -> None:
        if level == len(self._open):
            self._open.append([])
            self._count.append(0)
        children = self._open[level]
        children.append((node_hash, size_bytes))
        self._count[level] += 1
        # hash % 4 is taken of the last 64-bit number, whose low bits are in byte 24.
        ends_here = len(children) >= _MIN_CHILDREN and node_hash[24] % _MEAN_CHILDREN == 0
        if ends_here or len(children) == _MAX_CHILDREN:
            self._close(level)

    def _close(self, level: int) -> None:
        children = self._open[level]
        lines = "".join(f"{to_hex(child)} : {size}\n" for child, size in children)
        total_bytes = sum(size for _, size in children)
        children.clear()
        self._add(level + 1, blake3(lines.encode(), key=_NODE_KEY).digest(), total_bytes)


def hash_tree(chunks: Iterable[tuple[bytes, int]]) -> bytes:
    """Root over (chunk hash, chunk size); for a xorb this is the xorb hash."""
    tree = MerkleTree()
    for chunk_hash, size_bytes in chunks:
        tree.add(chunk_hash, size_bytes)
    return tree.root()
