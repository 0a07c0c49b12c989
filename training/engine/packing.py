"""Many documents in one row, without padding and without reading each other.

A document of n tokens gives n - 1 positions: token i is read to predict token i + 1, so a row holds positions, and no
target is lost where a long document is split. Source of best fit: https://arxiv.org/abs/2404.10830"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packing:
    """`pieces` int64 [P, 4]: row, document, start, length. Piece reads tokens start .. start + length - 1 of its
    document and predicts the ones after each. Sorted by row; the pieces of row r are first[r] .. first[r + 1] - 1."""

    pieces: NDArray[np.int64]
    first: NDArray[np.int64]
    context_tokens: int

    @property
    def rows(self) -> int:
        return len(self.first) - 1

    def pieces_of(self, row: int) -> NDArray[np.int64]:
        """int64 [k, 4] in the order in which they stand in the row."""
        return self.pieces[self.first[row] : self.first[row + 1]]

    def trace(self, row: int, position: int) -> tuple[int, int]:
        """(document, token within it) that stands at a position of a row; line `document` of rows.jsonl names it."""
        for _, document, start, length in self.pieces_of(row):
            if position < length:
                return int(document), int(start + position)
            position -= int(length)
        raise IndexError(f"row {row} has no position {position}")


def pack(lengths: Iterable[int], learnt: Iterable[bool], *, context_tokens: int, seed: int) -> Packing:
    """Best-fit decreasing: each piece goes into the fullest row that still has room.

    `lengths` are positions per piece candidate, that is tokens - 1 per document; `learnt` says whether a document
    teaches anything. Equal lengths are shuffled by `seed`, so neighbours in the file are not neighbours in a row."""
    candidates = [
        (document, start, min(context_tokens, length - start))
        for document, (length, useful) in enumerate(zip(lengths, learnt, strict=True))
        if useful
        for start in range(0, length, context_tokens)
    ]
    order = np.random.Generator(np.random.PCG64([seed, 1])).permutation(len(candidates))
    ordered = sorted((candidates[i] for i in order), key=lambda piece: -piece[2])
    return _list_pieces(_place(ordered, context_tokens), context_tokens)


def pack_pairs(lengths: Sequence[int], learnt: Sequence[bool], *, context_tokens: int, seed: int) -> Packing:
    """The same for documents 2k and 2k + 1 that belong together: both stand in one row, which is twice as long.

    None is split: an answer counts as a whole. A pair with a document over `context_tokens` is left out."""
    fitting = [0 < n <= context_tokens and useful for n, useful in zip(lengths, learnt, strict=True)]
    candidates = [
        (first // 2, 0, lengths[first] + lengths[first + 1])
        for first in range(0, len(lengths), 2)
        if fitting[first] and fitting[first + 1]
    ]
    order = np.random.Generator(np.random.PCG64([seed, 1])).permutation(len(candidates))
    ordered = sorted((candidates[i] for i in order), key=lambda piece: -piece[2])
    placed = [
        [(document, 0, lengths[document]) for pair, _, _ in row for document in (2 * pair, 2 * pair + 1)]
        for row in _place(ordered, 2 * context_tokens)
    ]
    return _list_pieces(placed, 2 * context_tokens)


def _list_pieces(placed: list[list[tuple[int, int, int]]], context_tokens: int) -> Packing:
    pieces = np.array([(row, *piece) for row, content in enumerate(placed) for piece in content], dtype=np.int64)
    pieces = pieces.reshape(-1, 4)
    first = np.searchsorted(pieces[:, 0], np.arange(len(placed) + 1))
    return Packing(pieces, first.astype(np.int64), context_tokens)


def _place(ordered: list[tuple[int, int, int]], capacity: int) -> list[list[tuple[int, int, int]]]:
    rows: list[list[tuple[int, int, int]]] = []
    rooms: list[int] = []  # sorted amounts of room that occur
    by_room: dict[int, list[int]] = {}  # room -> rows
    for piece in ordered:
        at = bisect.bisect_left(rooms, piece[2])
        if at == len(rooms):
            rows.append([])
            row, room = len(rows) - 1, capacity
        else:
            room = rooms[at]
            row = by_room[room].pop()
            if not by_room[room]:
                del by_room[room]
                rooms.pop(at)
        rows[row].append(piece)
        left = room - piece[2]
        if left:
            if left not in by_room:
                bisect.insort(rooms, left)
                by_room[left] = []
            by_room[left].append(row)
    return rows
