"""The chunked cross-entropy is the plain one, whatever the chunk."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.training.engine.tiny_models import DEVICE
from training.engine.batches import IGNORED
from training.engine.losses import sum_cross_entropy


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(57, 24, generator=generator).to(DEVICE).requires_grad_()
    weight = torch.randn(101, 24, generator=generator).to(DEVICE).requires_grad_()
    targets = torch.randint(0, 101, (57,), generator=generator)
    targets[torch.rand(57, generator=generator) < 0.4] = IGNORED
    return hidden, weight, targets.to(DEVICE)


def take_gradients(loss, *tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("cap", [None, 2.5])
@pytest.mark.parametrize("chunk", [1, 7, 16, 1000])
def test_loss_and_gradients_equal_the_plain_ones(problem, chunk, cap):
    hidden, weight, targets = problem
    logits = hidden @ weight.t()
    assert logits.abs().max() > 10
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    plain = cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    ours = sum_cross_entropy(hidden, weight, targets, chunk=chunk, cap=cap)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)
    scale = 0.37  # as when dividing by the targets of a step
    for mine, theirs in zip(
        take_gradients(ours * scale, hidden, weight), take_gradients(plain * scale, hidden, weight), strict=True
    ):
        assert (mine - theirs).norm() / theirs.norm() < 1e-6


def test_a_frozen_head_gets_no_gradient(problem):
    hidden, weight, targets = problem
    loss = sum_cross_entropy(hidden, weight.detach(), targets, chunk=8)
    loss.backward()
    assert hidden.grad is not None and weight.grad is None


def test_positions_that_are_not_learnt_change_nothing(problem):
    hidden, weight, targets = problem
    noisy = torch.where((targets == IGNORED)[:, None], hidden + 100, hidden)
    assert torch.equal(sum_cross_entropy(hidden, weight, targets), sum_cross_entropy(noisy, weight, targets))
    (gradient,) = take_gradients(sum_cross_entropy(hidden, weight, targets), hidden)
    assert not gradient[targets == IGNORED].any() and gradient[targets != IGNORED].any()


def test_nothing_to_learn_is_a_loss_of_zero(problem):
    hidden, weight, targets = problem
    loss = sum_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED))
    assert loss == 0
    (gradient,) = take_gradients(loss, hidden)
    assert not gradient.any()


def test_extreme_logits_stay_finite():
    hidden = torch.tensor([[1e4, -1e4]], device=DEVICE, requires_grad=True)
    weight = torch.eye(2, device=DEVICE)
    loss = sum_cross_entropy(hidden, weight, torch.tensor([1], device=DEVICE))
    loss.backward()
    assert float(loss) == pytest.approx(2e4) and torch.isfinite(hidden.grad).all()
