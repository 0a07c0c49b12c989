"""Packed documents: nothing is lost, nothing leaks, and the maths is that of one document a row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.engine.tiny_models import DEVICE, make_model
from training.engine.batches import IGNORED, make_batch
from training.engine.hf_format import MODEL_TYPES, compute_logits
from training.engine.losses import compute_loss_sum
from training.engine.packing import pack

RNG = np.random.default_rng(3)


def make_documents(lengths: list[int], seed: int = 3) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and targets; about a third of the targets is not learnt."""
    rng = np.random.default_rng(seed)
    documents = [rng.integers(3, 330, n + 1) for n in lengths]
    targets = [np.where(rng.random(len(d) - 1) < 0.33, IGNORED, d[1:]) for d in documents]
    return [d[:-1] for d in documents], targets


def gradients(model) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    return found


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_packed_gradients_equal_those_of_padded_rows(model_type):
    lengths = [17, 3, 40, 1, 9]
    inputs, targets = make_documents(lengths)
    packed = make_model(model_type)
    compute_loss_sum(packed, make_batch(inputs, targets, torch.device(DEVICE)), dtype=torch.float32).backward()

    # The reference: transformers' own eager attention, one document a row, padded on the right.
    padded = make_model(model_type, attention_name="eager")
    longest = max(lengths)
    ids, labels, mask = (torch.zeros(len(lengths), longest, dtype=torch.long, device=DEVICE) for _ in range(3))
    labels.fill_(IGNORED)
    for row, (tokens, target) in enumerate(zip(inputs, targets, strict=True)):
        ids[row, : len(tokens)] = torch.from_numpy(tokens)
        labels[row, : len(tokens)] = torch.from_numpy(target)
        mask[row, : len(tokens)] = 1
    logits = padded(input_ids=ids, attention_mask=mask).logits
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    ).backward()

    ours, theirs = gradients(packed), gradients(padded)
    assert ours.keys() == theirs.keys()
    for name in ours:
        error = (ours[name] - theirs[name]).norm() / theirs[name].norm()
        assert error < 1e-5, (name, float(error))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_document_does_not_see_its_neighbours(model_type):
    model = make_model(model_type)
    mine, _ = make_documents([23], seed=8)
    others, _ = make_documents([11, 30], seed=9)
    changed, _ = make_documents([11, 30], seed=10)

    def logits_of_mine(neighbours):
        order = [neighbours[0], mine[0], neighbours[1]]
        batch = make_batch(order, [np.full(len(d), IGNORED) for d in order], torch.device(DEVICE))
        return compute_logits(model, batch)[11:34]

    assert torch.equal(logits_of_mine(others), logits_of_mine(changed))  # not one bit
    alone = compute_logits(model, make_batch(mine, [np.full(23, IGNORED)], torch.device(DEVICE)))
    torch.testing.assert_close(logits_of_mine(others), alone, rtol=1e-5, atol=1e-5)


def test_without_document_lengths_a_neighbour_would_be_seen():
    """The test above can fail: told that all is one document, the same model gives other numbers."""
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
