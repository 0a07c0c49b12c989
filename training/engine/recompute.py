"""Activations that are made twice instead of kept: a layer remembers its input and runs again when its gradient is due.

Source: https://arxiv.org/abs/1604.06174. The second run computes the same bits, so neither losses nor gradients change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from training.engine.sharding import find_layers


@contextmanager
def recompute(model: Any, count: int) -> Iterator[None]:
    """While it lasts, the first `count` layers of the model keep their input alone, where gradients are wanted."""
    layers = list(find_layers(model))[:count] if count else []
    before = [layer.__dict__.get("forward") for layer in layers]
    for layer in layers:
        # The forward alone, not the call: what FSDP2 hangs on a call gathers weights, once.
        layer.__dict__["forward"] = _Again(layer.forward)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.__dict__["forward"]
            if forward is not None:
                layer.__dict__["forward"] = forward


class _Again:
    def __init__(self, forward: Callable[..., Any]) -> None:
        self.forward = forward

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*inputs, **named)
        return checkpoint(self.forward, *inputs, use_reentrant=False, **named)
