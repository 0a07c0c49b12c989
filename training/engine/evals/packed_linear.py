"""Matrices laid out for the processor before a suite is put to a model.

PyTorch gives fp32 products on a CPU to MKL, with the weights as they lie in the file. oneDNN reads weights that were put in
its own order once: 1.2 times as fast for long rows on the machine of docs/experiments.md, 2 times for the few rows of
a decoding step. The sums are of the same fp32 products in another order."""

from __future__ import annotations

import functools
from typing import Any

import torch

from training.engine.architectures import PADDED, get_family

ROWS = 256  # of a product; a hint for the order of the weights


class PackedLinear(torch.nn.Module):
    """A linear layer for reading only. Its own weights are let go; those shared with an embedding stay there."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        with torch.inference_mode():
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
        self.bias = None if layer.bias is None else layer.bias.detach()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return found


@functools.cache
def can_pack() -> bool:
    """Whether this build of PyTorch has both steps, and they agree with the plain product."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    layer, rows = torch.nn.Linear(12, 5), torch.linspace(-1, 1, 96).view(8, 12)
    try:
        with torch.inference_mode():
            return torch.allclose(PackedLinear(layer)(rows), layer(rows), atol=1e-5)
    except (RuntimeError, NotImplementedError):
        return False


def pack_weights(model: Any) -> Any:
    """The same model with packed layers, where the device and the build of PyTorch have them; else as it is."""
    # State-space kernels read the weights of their layers past the layers themselves.
    may = model.device.type == "cpu" and model.dtype == torch.float32 and get_family(model.config).packing != PADDED
    if not may or not can_pack():
        return model
    for module in list(model.modules()):
        for name, layer in list(module.named_children()):
            if type(layer) is torch.nn.Linear:  # a subclass computes in its own way
                setattr(module, name, PackedLinear(layer))
    return model
