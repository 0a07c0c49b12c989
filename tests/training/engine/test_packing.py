"""Packed documents: nothing is lost, and many small passes are one large one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.engine.tiny_models import DEVICE, make_documents, make_model
from training.engine.batches import IGNORED, make_batch
from training.engine.documents import compute_logits
from training.engine.losses import compute_loss_sum
from training.engine.packing import pack

RNG = np.random.default_rng(3)


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return found


def test_without_document_lengths_a_neighbour_would_be_seen():
    """That nothing leaks (test_architectures.py) is a finding: told that all is one document, the same model gives other numbers."""
    model = make_model()
    inputs, _ = make_documents([11, 23])
    batch = make_batch(inputs, [np.full(len(d), IGNORED) for d in inputs], torch.device(DEVICE))
    with torch.no_grad():
        mixed = model(input_ids=batch.tokens, position_ids=batch.positions, use_cache=False).logits[0]
    assert (compute_logits(model, batch) - mixed)[11:].abs().max() > 0.01


def test_packing_many_small_passes_gives_the_gradients_of_one():
    inputs, targets = make_documents([12, 7, 25, 4])
    model = make_model()
    compute_loss_sum(model, make_batch(inputs, targets, torch.device(DEVICE)), dtype=torch.float32).backward()
    whole = gradients(model)
    for one, target in zip(inputs, targets, strict=True):
        compute_loss_sum(model, make_batch([one], [target], torch.device(DEVICE)), dtype=torch.float32).backward()
    parts = gradients(model)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=40),
    context=st.integers(1, 32),
    seed=st.integers(0, 5),
)
def test_every_position_is_packed_exactly_once(lengths, context, seed):
    packing = pack(lengths, [True] * len(lengths), context_tokens=context, seed=seed)
    seen = [(d, start + i) for _, d, start, n in packing.pieces.tolist() for i in range(n)]
    assert sorted(seen) == [(d, i) for d, n in enumerate(lengths) for i in range(n)]
    for row in range(packing.rows):
        assert 0 < packing.pieces_of(row)[:, 3].sum() <= context
    pieces_of_short = [d for _, d, _, _ in packing.pieces.tolist() if lengths[d] <= context]
    assert len(pieces_of_short) == len(set(pieces_of_short)), "only documents longer than a row are split"


def test_best_fit_leaves_almost_no_room():
    lengths = np.random.default_rng(0).integers(5, 400, 3000).tolist()
    packing = pack(lengths, [True] * 3000, context_tokens=1024, seed=1)
    assert sum(lengths) / (packing.rows * 1024) > 0.99


def test_a_document_that_teaches_nothing_is_not_packed():
    packing = pack([5, 6, 7], [True, False, True], context_tokens=16, seed=1)
    assert set(packing.pieces[:, 1].tolist()) == {0, 2}


def test_the_seed_decides_the_packing():
    lengths = [8] * 50
    first, again, other = (pack(lengths, [True] * 50, context_tokens=32, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.pieces, again.pieces)
    assert not np.array_equal(first.pieces, other.pieces)


def test_a_position_leads_back_to_its_document():
    packing = pack([3, 5, 40], [True] * 3, context_tokens=16, seed=1)
    for row in range(packing.rows):
        position = 0
        for _, document, start, length in packing.pieces_of(row).tolist():
            assert packing.trace(row, position) == (document, start)
            assert packing.trace(row, position + length - 1) == (document, start + length - 1)
            position += length
        with pytest.raises(IndexError):
            packing.trace(row, position)
