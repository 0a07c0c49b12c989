"""Which rows a step reads, and how they lie in memory.

A batch is flat: its documents stand one after another without padding, and `lengths` says where each ends.
Legend: N positions of a batch, S documents (pieces) in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.engine.config import Plan
from training.engine.corpus import Corpus
from training.engine.packing import Packing, pack, pack_pairs
from training.engine.ranks import ALONE, Ranks

IGNORED = -100  # a position whose next token is not learnt


@dataclass(frozen=True)
class Batch:
    tokens: torch.Tensor  # int64 [1, N]
    positions: torch.Tensor  # int64 [1, N]; each document starts at 0
    targets: torch.Tensor  # int64 [N]; IGNORED where nothing is learnt
    lengths: tuple[int, ...]  # S numbers that add up to N
    documents: tuple[int, ...] = ()  # S numbers of the corpus, where the batch comes from one

    @property
    def learnt(self) -> int:
        return int((self.targets != IGNORED).sum())


class Batches:
    """The order of the data: a function of seed and step alone, so the step number is the whole data position."""

    def __init__(self, corpus: Corpus, plan: Plan) -> None:
        self.corpus, self.plan = corpus, plan
        self.packing = pack_corpus(corpus, plan)
        self.orders: dict[int, NDArray[np.int64]] = {}

    def rows_of(self, step: int) -> list[int]:
        """Rows of packing that step (from 0) reads. Each epoch reads all rows in a new order."""
        first = step * self.plan.rows_per_step
        last = first + self.plan.rows_per_step
        if self.plan.epochs:
            last = min(last, max(first + 1, round(self.plan.epochs * self.packing.rows)))
        return [int(self._order(i // self.packing.rows)[i % self.packing.rows]) for i in range(first, last)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self.orders:
            self.orders = {e: order for e, order in self.orders.items() if e == epoch - 1}
            rng = np.random.Generator(np.random.PCG64([self.plan.seed, 2, epoch]))
            self.orders[epoch] = rng.permutation(self.packing.rows)
        return self.orders[epoch]

    def passes_of(self, step: int, ranks: Ranks = ALONE) -> Iterator[list[int]]:
        """The rows of a step that one rank reads, in the portions that fit into memory.

        Ranks learn together, so each gets as many portions as the others; where rows are few, one may be empty."""
        rows = self.rows_of(step)
        own, most = rows[ranks.rank :: ranks.count], math.ceil(len(rows) / ranks.count)
        for start in range(0, most, self.plan.rows_per_pass):
            yield own[start : start + self.plan.rows_per_pass]

    def build_idle(self, step: int, device: torch.device) -> Batch:
        """What a rank reads that has no rows left: a row of the step, of which nothing is learnt."""
        batch = self.build(self.rows_of(step)[:1], device)
        return replace(batch, targets=torch.full_like(batch.targets, IGNORED))

    def build(self, rows: list[int], device: torch.device) -> Batch:
        parts = [(int(d), int(s), int(n)) for row in rows for _, d, s, n in self.packing.pieces_of(row)]
        tokens, targets = zip(*(self._read(*part) for part in parts), strict=True)
        batch = make_batch(list(tokens), list(targets), device)
        return replace(batch, documents=tuple(document for document, _, _ in parts))

    def _read(self, document: int, start: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        at = int(self.corpus.offsets[document]) + start
        ids = self.corpus.tokens[at : at + length + 1].astype(np.int64)
        learnt = self.corpus.learnt[at + 1 : at + length + 1] != 0
        return ids[:-1], np.where(learnt, ids[1:], IGNORED)

    def count_pairs(self, step: int) -> int:
        """Pairs of a whole step, where documents come in pairs."""
        return sum(len(self.packing.pieces_of(row)) for row in self.rows_of(step)) // 2

    def count_learnt(self, step: int) -> int:
        """Targets of a whole step: what its loss is divided by."""
        total = 0
        for row in self.rows_of(step):
            for _, document, start, length in self.packing.pieces_of(row):
                at = int(self.corpus.offsets[document] + start)
                total += int(np.count_nonzero(self.corpus.learnt[at + 1 : at + length + 1]))
        return total


def make_batch(tokens: list[NDArray[np.int64]], targets: list[NDArray[np.int64]], device: torch.device) -> Batch:
    """A batch of documents given as input ids and targets, one array each."""
    lengths = tuple(len(t) for t in tokens)
    positions = np.concatenate([np.arange(n, dtype=np.int64) for n in lengths])
    return Batch(
        torch.from_numpy(np.concatenate(tokens))[None].to(device),
        torch.from_numpy(positions)[None].to(device),
        torch.from_numpy(np.concatenate(targets)).to(device),
        lengths,
    )


def pack_corpus(corpus: Corpus, plan: Plan) -> Packing:
    lengths = np.maximum(np.diff(corpus.offsets) - 1, 0)
    summed = np.concatenate([[0], np.cumsum(corpus.learnt, dtype=np.int64)])
    # The first token is never predicted, so it does not count as learnt.
    useful = summed[corpus.offsets[1:]] - summed[np.minimum(corpus.offsets[:-1] + 1, corpus.offsets[1:])] > 0
    if corpus.is_paired:
        counted, learnt = [int(n) for n in lengths], [bool(u) for u in useful]
        return pack_pairs(counted, learnt, context_tokens=plan.context_tokens, seed=plan.seed)
    return pack(
        (int(n) for n in lengths), (bool(u) for u in useful), context_tokens=plan.context_tokens, seed=plan.seed
    )
