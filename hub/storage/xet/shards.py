"""Shards: which chunk ranges of which xorbs make up a file, in records of 48 bytes.

    header | files ... | bookend | xorbs ... | bookend | footer (only in answers to deduplication queries)

A client describes its upload by a shard; we keep the description of each file as a shard of one file.
Source: https://huggingface.co/docs/xet/shard
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hub.storage.errors import MalformedShard
from hub.storage.xet import hashes
from hub.storage.xet.xorbs import XorbIndex

MAX_SHARD_BYTES = 64 * 1024 * 1024

# One term: chunks [start, end) of a xorb, `size` raw bytes.
TERM = np.dtype([("xorb", "V32"), ("flags", "<u4"), ("size", "<u4"), ("start", "<u4"), ("end", "<u4")])
Terms = npt.NDArray[np.void]

_RECORD = 48  # bytes
_TAG = b"HFRepoMetaData\x00" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
_HEADER = struct.Struct("<32sQQ")  # tag, version 2, size of the footer
_FILE = struct.Struct("<32sIIQ")  # file hash, flags, number of terms, unused
_DIGEST = struct.Struct("<32s16x")  # verification hash of a term, or SHA-256 of a file
_XORB = struct.Struct("<32sIIII")  # xorb hash, flags, number of chunks, raw bytes, packed bytes
_CHUNK = struct.Struct("<32sIIII")  # chunk hash, raw start, raw bytes, flags, unused
_BOOKEND_HASH = b"\xff" * 32
_BOOKEND = _BOOKEND_HASH + bytes(16)
_HAS_VERIFICATION = 1 << 31
_HAS_SHA256 = 1 << 30
# Version 1, offsets of files and xorbs, offset and length of three lookup tables, key, created, expires, 48 bytes
# unused, packed, materialised and raw bytes, offset of the footer.
_FOOTER = struct.Struct("<QQQ6Q32sQQ48xQQQQ")


@dataclass(frozen=True, eq=False)
class FileDescription:
    """How a file is put together."""

    file_hash: bytes
    terms: Terms  # dtype TERM, in file order
    verification: bytes | None  # verification hashes of the terms, 48 bytes apart
    sha256: str | None  # 64 hexadecimal digits, as everywhere outside Xet

    @property
    def size(self) -> int:
        """Bytes of the file, as the terms state them."""
        return int(self.terms["size"].sum(dtype=np.uint64))

    def verification_at(self, term: int) -> bytes | None:
        return None if self.verification is None else self.verification[_RECORD * term : _RECORD * term + 32]

    def xorbs(self) -> tuple[bytes, ...]:
        """Hashes of the xorbs, each once, in order of appearance."""
        packed = self.terms.tobytes()
        return tuple(dict.fromkeys(packed[at : at + 32] for at in range(0, len(packed), _RECORD)))


def make_terms(terms: Iterable[tuple[bytes, int, int, int]]) -> Terms:
    """Terms from (xorb hash, start, end, size in bytes)."""
    packed = b"".join(_XORB.pack(xorb, 0, size, start, end) for xorb, start, end, size in terms)
    return np.frombuffer(packed, dtype=TERM)


def parse_shard(data: bytes) -> list[FileDescription]:
    """The files that a shard describes. Raises MalformedShard.

    The records of xorbs are checked for form only: the store knows its xorbs from their own bytes."""
    if len(data) > MAX_SHARD_BYTES:
        raise MalformedShard(f"A shard holds at most {MAX_SHARD_BYTES} bytes; register the files in several ones.")
    reader = _Reader(data)
    tag, version, _ = _HEADER.unpack(reader.take(_HEADER.size))
    if tag != _TAG or version != 2:
        raise MalformedShard("This is not a shard of version 2.")
    files = list(_read_files(reader))
    while (header := reader.take(_RECORD)) != _BOOKEND:
        _, _, chunk_count, _, _ = _XORB.unpack(header)
        reader.take(_CHUNK.size * chunk_count)
    return files


def format_shard(files: Iterable[FileDescription]) -> bytes:
    """A shard without footer and without records of xorbs."""
    parts = [_HEADER.pack(_TAG, 2, 0)]
    for file in files:
        flags = (_HAS_VERIFICATION if file.verification is not None else 0) | (_HAS_SHA256 if file.sha256 else 0)
        parts += [_FILE.pack(file.file_hash, flags, len(file.terms), 0), file.terms.tobytes(), file.verification or b""]
        if file.sha256:
            parts.append(_DIGEST.pack(hashes.from_hex(file.sha256)))
    return b"".join([*parts, _BOOKEND, _BOOKEND])


def format_dedup_shard(xorbs: Iterable[XorbIndex], *, key: bytes, created_s: int, expires_s: int) -> bytes:
    """The answer to a deduplication query: the chunks of some xorbs, their hashes under `key`.

    Times are seconds since 1970. The three lookup tables stay empty, as the client allows, but their offsets must
    be there: it takes the records of xorbs to end where the first table begins."""
    header = _HEADER.pack(_TAG, 2, _FOOTER.size)
    parts = [header, _BOOKEND]
    raw_bytes = packed_bytes = 0
    for xorb in xorbs:
        raw_bytes += xorb.raw_ends[-1]
        packed_bytes += xorb.packed_ends[-1]
        parts.append(_XORB.pack(xorb.xorb_hash, 0, len(xorb), xorb.raw_ends[-1], xorb.packed_ends[-1]))
        parts += [
            _CHUNK.pack(hashes.key_hash(xorb.hash_at(at), key), xorb.raw_start(at), xorb.raw_size(at, at + 1), 0, 0)
            for at in range(len(xorb))
        ]
    parts.append(_BOOKEND)
    body = b"".join(parts)
    end = len(body)
    tables = (end, 0, end, 0, end, 0)
    return body + _FOOTER.pack(
        1, len(header), len(header) + _RECORD, *tables, key, created_s, expires_s, packed_bytes, 0, raw_bytes, end
    )


def _read_files(reader: "_Reader") -> Iterator[FileDescription]:
    while (header := reader.take(_RECORD)) != _BOOKEND:
        file_hash, flags, term_count, _ = _FILE.unpack(header)
        terms = np.frombuffer(reader.take(_RECORD * term_count), dtype=TERM)
        verification = reader.take(_RECORD * term_count) if flags & _HAS_VERIFICATION else None
        sha256 = hashes.to_hex(reader.take(_RECORD)[:32]) if flags & _HAS_SHA256 else None
        yield FileDescription(file_hash, terms, verification, sha256)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise MalformedShard("The shard ends in the middle of a record; send it again.")
        self._at += count
        return self._data[self._at - count : self._at]
