"""Bytes from any door but Xet become chunks, and chunks that are not known yet become xorbs.

Deduplication takes runs, not single chunks: a file whose chunks lie scattered over many xorbs is slow to read, and
that costs more than a few chunks stored twice. Source of the rule: https://huggingface.co/docs/xet/deduplication
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from hub.storage.chunk_index import ChunkIndex
from hub.storage.chunks import Chunker
from hub.storage.disk import incoming_file
from hub.storage.errors import StorageError
from hub.storage.records import Records
from hub.storage.xet import hashes
from hub.storage.xet.shards import FileDescription, make_terms
from hub.storage.xet.xorbs import XorbIndex, XorbWriter

_MIN_RUN = 8  # chunks, about half a MiB, before a reference to other data is worth a term of its own


@dataclass
class _Term:
    xorb: bytes | None  # None: the xorb under construction
    start: int
    end: int
    size: int


@dataclass
class _Run:
    """Chunks of the file that follow each other in known data as well."""

    source: XorbIndex | XorbWriter
    start: int
    chunks: list[tuple[bytes, bytes]]  # (hash, data); emptied once the run is long enough to be a term
    term: _Term | None = None

    def next_position(self) -> int:
        return self.term.end if self.term is not None else self.start + len(self.chunks)

    def continues_with(self, chunk_hash: bytes) -> bool:
        position = self.next_position()
        return position < len(self.source) and self.source.hash_at(position) == chunk_hash


class Ingest:
    """Takes in one file. Use as a context: what is not finished leaves nothing visible behind, and what it stored until
    then is told in `left_behind` (xorb -> bytes)."""

    def __init__(self, records: Records, index: ChunkIndex, left_behind: dict[str, int] | None = None) -> None:
        self._left_behind = left_behind
        self._published: list[str] = []
        self._records = records
        self._index = index
        self._tree = hashes.MerkleTree()
        self._terms: list[_Term] = []
        self._run: _Run | None = None
        self._files = ExitStack()
        self._file: BinaryIO | None = None
        self._writer: XorbWriter | None = None
        self._own: dict[bytes, int] = {}  # chunk hash -> position in the xorb under construction

    def __enter__(self) -> "Ingest":
        return self

    def __exit__(self, problem: object, *_: object) -> None:
        self._files.close()
        if problem is not None and self._left_behind is not None:
            self._left_behind.update({name: self._records.xorbs.size(name) or 0 for name in self._published})

    def take(self, pieces: Iterable[bytes]) -> None:
        for chunk in Chunker().cut(pieces):
            chunk_hash = hashes.hash_chunk(chunk)
            self._tree.add(chunk_hash, len(chunk))
            self._take_chunk(chunk_hash, chunk)

    def finish(self, sha256: str) -> FileDescription:
        """The description of the whole file, whose xorbs are now stored."""
        # A run up to the end of the file adds one term at most, so its length does not matter.
        self._end_run(keep=True)
        file_hash = hashes.hash_file(self._tree.root())
        known = self._records.find_by_xet(hashes.to_hex(file_hash))
        if known is not None and self._records.renew_xorbs(known):
            return known  # the xorb under construction is dropped
        self._publish_xorb()
        terms = make_terms((term.xorb or b"", term.start, term.end, term.size) for term in self._terms)
        return FileDescription(file_hash, terms, None, sha256)

    def _take_chunk(self, chunk_hash: bytes, chunk: bytes) -> None:
        if self._run is not None and self._run.continues_with(chunk_hash):
            self._extend_run(chunk_hash, chunk)
            return
        self._end_run(keep=False)
        found = self._find(chunk_hash)
        if found is None:
            self._store(chunk_hash, chunk)
            return
        source, position = found
        self._run = _Run(source, position, [])
        self._extend_run(chunk_hash, chunk)

    def _find(self, chunk_hash: bytes) -> tuple[XorbIndex | XorbWriter, int] | None:
        if self._writer is not None and (position := self._own.get(chunk_hash)) is not None:
            return self._writer, position
        for xorb_hash, position in self._index.find(chunk_hash):
            xorb = self._records.index_of(xorb_hash)
            # The index is a hint: the xorb may be gone, and only part of the hash was compared.
            if xorb is None or position >= len(xorb) or xorb.hash_at(position) != chunk_hash:
                continue
            if self._records.renew_xorb(xorb_hash):
                return xorb, position
        return None

    def _extend_run(self, chunk_hash: bytes, chunk: bytes) -> None:
        run = self._run
        assert run is not None
        if run.term is not None:
            run.term.end += 1
            run.term.size += len(chunk)
            return
        run.chunks.append((chunk_hash, chunk))
        if len(run.chunks) >= _MIN_RUN:
            self._accept_run(run)

    def _accept_run(self, run: _Run) -> None:
        xorb = run.source.xorb_hash if isinstance(run.source, XorbIndex) else None
        size = sum(len(chunk) for _, chunk in run.chunks)
        run.term = self._add_term(xorb, run.start, run.start + len(run.chunks), size)
        run.chunks = []

    def _end_run(self, *, keep: bool) -> None:
        run, self._run = self._run, None
        if run is None or run.term is not None:
            return
        if keep:
            self._accept_run(run)
            return
        for chunk_hash, chunk in run.chunks:
            self._store(chunk_hash, chunk)

    def _store(self, chunk_hash: bytes, chunk: bytes) -> None:
        if self._writer is not None and not self._writer.has_room(len(chunk)):
            self._publish_xorb()
        if self._writer is None:
            self._file = self._files.enter_context(incoming_file(self._records.incoming))
            self._writer = XorbWriter(self._file)
        position = len(self._writer)
        self._writer.add(chunk_hash, chunk)
        self._own.setdefault(chunk_hash, position)
        self._add_term(None, position, position + 1, len(chunk))

    def _add_term(self, xorb: bytes | None, start: int, end: int, size: int) -> _Term:
        last = self._terms[-1] if self._terms else None
        if last is not None and last.xorb == xorb and last.end == start:
            last.end = end
            last.size += size
            return last
        self._terms.append(_Term(xorb, start, end, size))
        return self._terms[-1]

    def _publish_xorb(self) -> None:
        """Complete the xorb under construction and give its terms their name."""
        if self._writer is None or self._file is None:
            return
        index = self._writer.finish()
        name = hashes.to_hex(index.xorb_hash)
        if not self._records.xorbs.publish(name, self._file) and not self._records.renew_xorb(index.xorb_hash):
            raise StorageError(f"Xorb {name} was swept during the upload; upload again.")
        self._published.append(name)
        self._index.add(index)
        for term in self._terms:
            term.xorb = term.xorb if term.xorb is not None else index.xorb_hash
        self._files.close()
        self._file = self._writer = None
        self._own = {}
