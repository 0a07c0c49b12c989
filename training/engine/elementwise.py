"""What stands between the matrix products of a network on a CPU, in fewer passes over memory than torch's own gradients
take: norms, gates and rotations by position. The same values but for rounding.

Legend: B rows, H heads, N positions, D width, I inner width, d width of a head."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import silu

# Classes of transformers that all compute x / sqrt(mean(x^2) + epsilon) times a weight, and silu(gate x) * up x.
FAMILIES = ("Llama", "Mistral", "Olmo2", "Olmo3", "Qwen2", "Qwen3", "SmolLM3")
NORMS = {f"{name}RMSNorm" for name in FAMILIES}
GATES = {f"{name}MLP" for name in FAMILIES}
ROTATE = "apply_rotary_pos_emb"  # of a module of transformers

Rotate = Callable[..., tuple[torch.Tensor, torch.Tensor]]


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) times a weight [D], over the last dimension, in a third of the passes over memory."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight_D: torch.Tensor, epsilon: float) -> torch.Tensor:
        factor: torch.Tensor = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()[..., None]
        normed = x * factor
        ctx.save_for_backward(normed, factor, weight_D)
        return normed * weight_D

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        normed, factor, weight_D = ctx.saved_tensors
        product = grad * normed
        grad_x = None
        if ctx.needs_input_grad[0]:
            along = (product @ weight_D).div_(len(weight_D))[..., None]
            grad_x = torch.addcmul(grad * weight_D, normed, along, value=-1).mul_(factor)
        grad_weight = product.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, None


class _Gate(torch.autograd.Function):
    """silu(gate) * up, of which only the factors are kept."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * up, gate), silu(gate).mul_(grad)


class _Rotation(torch.autograd.Function):
    """Turns the first half of each head against the second; backward turns the other way."""

    @staticmethod
    def forward(ctx: Any, x_BHNd: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x_BHNd, cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, -1.0), None, None


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: float) -> torch.Tensor:
    half = x.shape[-1] // 2
    turned = x * cos
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return turned


def rotate(
    theirs: Rotate, query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, unsqueeze_dim: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `theirs` does where whole heads turn; where a part of each does, `theirs` itself."""
    if cos.shape[-1] != query.shape[-1]:
        return theirs(query, key, cos, sin, unsqueeze_dim=unsqueeze_dim)
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    turned: Any = _Rotation.apply
    return turned(query, cos, sin), turned(key, cos, sin)


def find_rotations(model: torch.nn.Module) -> list[tuple[Any, Rotate]]:
    """Modules of transformers that the model's layers come from, each with its own rotation, where that is the one above.
    Tried rather than trusted: some turn neighbours, or a part of a head."""
    modules = [sys.modules[name] for name in sorted({type(layer).__module__ for layer in model.modules()})]
    return [(module, getattr(module, ROTATE)) for module in modules if _is_ours(getattr(module, ROTATE, None))]


def _is_ours(theirs: Rotate | None) -> bool:
    if theirs is None or "unsqueeze_dim" not in inspect.signature(theirs).parameters:
        return False
    query, key = torch.linspace(-1, 1, 48).view(1, 2, 3, 8), torch.linspace(2, 1, 24).view(1, 1, 3, 8)
    angles = torch.arange(12.0).view(1, 3, 4).repeat(1, 1, 2)
    inputs = query, key, angles.cos(), angles.sin()
    try:
        pairs = zip(theirs(*inputs), rotate(theirs, *inputs), strict=True)
        return all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    except (RuntimeError, TypeError, ValueError):
        return False


def is_norm(layer: Any) -> bool:
    return type(layer).__name__ in NORMS and layer.weight.dtype == torch.float32


def is_gate(layer: Any) -> bool:
    """A gated feed-forward layer whose function is silu."""
    activation = getattr(layer, "act_fn", None)
    is_silu = isinstance(activation, torch.nn.SiLU) or type(activation).__name__ == "SiLUActivation"
    return type(layer).__name__ in GATES and is_silu


class Normed:
    def __init__(self, layer: Any) -> None:
        self.layer, self.slow = layer, type(layer).forward

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        if x.dtype != torch.float32:
            slow: torch.Tensor = self.slow(layer, x)
            return slow
        out: torch.Tensor = _Norm.apply(x, layer.weight, layer.variance_epsilon)  # type: ignore[no-untyped-call]
        return out


class Gated:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        gate, up = layer.gate_proj(x), layer.up_proj(x)
        inner = _Gate.apply(gate, up) if gate.dtype == torch.float32 else layer.act_fn(gate) * up  # type: ignore[no-untyped-call]
        out: torch.Tensor = layer.down_proj(inner)
        return out
