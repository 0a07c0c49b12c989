"""A model that computes faster for a while: its layers by `products` and `elementwise`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.engine import elementwise, products
from training.engine.products import has_library, rounding


@contextmanager
def quicken(model: torch.nn.Module, *, is_fp32_on_cpu: bool, rounds: bool = False) -> Iterator[None]:
    """While it lasts, the layers of the model compute by ways of their own, to the same values but for rounding: that of
    fp32, or where it `rounds`, of the factors of matrix products to bf16."""
    is_wanted = is_fp32_on_cpu and has_library()
    rotations = elementwise.find_rotations(model) if is_wanted else []
    changed = list(_change(model, rounds=rounds)) if is_wanted else []
    for module, theirs in rotations:
        setattr(module, elementwise.ROTATE, functools.partial(elementwise.rotate, theirs))
    try:
        with rounding(is_wanted and rounds):
            yield
    finally:
        for layer in changed:
            del layer.__dict__["forward"]
        for module, theirs in rotations:
            setattr(module, elementwise.ROTATE, theirs)


def _change(model: torch.nn.Module, *, rounds: bool) -> Iterator[torch.nn.Module]:
    for name, layer in list(model.named_modules()):
        if rounds and "lora_" in name:
            continue  # what peft computes of an adapter itself: its steps are too small to be rounded
        if products.is_adapted(layer):
            layer.__dict__["forward"] = products.Adapted(layer)
        elif type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
            layer.__dict__["forward"] = products.Plain(layer)
        elif elementwise.is_norm(layer):
            layer.__dict__["forward"] = elementwise.Normed(layer)
        elif elementwise.is_gate(layer):
            layer.__dict__["forward"] = elementwise.Gated(layer)
        else:
            continue
        yield layer
