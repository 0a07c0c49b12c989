"""Matrix products of a run on a CPU, by the faster of the two libraries that torch brings, one product for a layer and
its adapter together, and norms that read memory less often.

oneDNN uses the widest instructions of every x86 processor, the default library those of its maker's only. An adapter is
added to its layer's weights for the length of one product, W + s B A: that costs a thousandth of the product, where
three products and three sums of whole activations stood before. Both are in fp32, where adding loses nothing.
Legend: N positions, I inputs, O outputs, r rank."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

# Norms of transformers that all compute x / sqrt(mean(x^2) + epsilon) times a weight.
NORMS = {f"{name}RMSNorm" for name in ("Llama", "Mistral", "Olmo2", "Olmo3", "Qwen2", "Qwen3", "SmolLM3")}
MIN_POSITIONS = 128  # below, adding an adapter to the weights costs more than it saves


def multiply(x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """x W^T + b in fp32 on a CPU, [N, O]; the weight may be a transposed view."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
    return product


@functools.cache
def has_library() -> bool:
    """Whether oneDNN is there and agrees with the default library on a small product."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # type: ignore[no-untyped-call]
        return False
    x, weight = torch.linspace(-1, 1, 96).view(8, 12), torch.linspace(1, -1, 60).view(5, 12)
    try:
        return torch.allclose(multiply(x, weight), x @ weight.t(), atol=1e-5) and torch.allclose(
            multiply(x @ weight.t(), weight.t()), x @ weight.t() @ weight, atol=1e-5
        )
    except (RuntimeError, NotImplementedError):
        return False


def choose_product(device: torch.device, dtype: torch.dtype) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """What computes x W^T of x [N, I] and W [O, I]."""
    return multiply if device.type == "cpu" and dtype == torch.float32 and has_library() else torch.nn.functional.linear


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        return multiply(x_NI, weight_OI, bias_O)

    @staticmethod
    def backward(ctx: Any, grad_NO: torch.Tensor) -> Any:
        x_NI, weight_OI = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            multiply(grad_NO, weight_OI.t()) if needs_x else None,
            grad_NO.t() @ x_NI if needs_weight else None,
            grad_NO.sum(0) if needs_bias else None,
        )


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


class _AdaptedProduct(torch.autograd.Function):
    """x (W + s B A)^T + b, where only A [r, I] and B [O, r] learn."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NI: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        a_rI: torch.Tensor,
        b_Or: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_NI, weight_OI, a_rI, b_Or)
        ctx.scale = scale
        return multiply(x_NI, torch.addmm(weight_OI, b_Or, a_rI, alpha=scale), bias_O)

    @staticmethod
    def backward(ctx: Any, grad_NO: torch.Tensor) -> Any:
        x_NI, weight_OI, a_rI, b_Or = ctx.saved_tensors
        grad_x = None
        if ctx.needs_input_grad[0]:
            # Added again: to keep it would hold a second copy of the whole model.
            grad_x = multiply(grad_NO, torch.addmm(weight_OI, b_Or, a_rI, alpha=ctx.scale).t())
        grad_a = ((grad_NO @ b_Or).t() @ x_NI).mul_(ctx.scale)
        grad_b = (grad_NO.t() @ (x_NI @ a_rI.t())).mul_(ctx.scale)
        return grad_x, None, None, grad_a, grad_b, None


@contextmanager
def quicken(model: torch.nn.Module, *, is_fp32_on_cpu: bool) -> Iterator[None]:
    """While it lasts, the linear layers and norms of the model compute by the above, to the same values but for rounding."""
    changed = list(_change(model)) if is_fp32_on_cpu and has_library() else []
    try:
        yield
    finally:
        for layer in changed:
            del layer.__dict__["forward"]


def _change(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    for layer in list(model.modules()):
        if _is_adapted(layer):
            layer.__dict__["forward"] = _Adapted(layer)
        elif type(layer) is torch.nn.Linear and layer.weight.dtype == torch.float32:
            layer.__dict__["forward"] = _Plain(layer)
        elif type(layer).__name__ in NORMS and layer.weight.dtype == torch.float32:
            layer.__dict__["forward"] = _Normed(layer)
        else:
            continue
        yield layer


def _is_adapted(layer: Any) -> bool:
    """A linear layer of peft with one adapter in use and nothing special about it."""
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or type(layer.base_layer) is not torch.nn.Linear or len(layer.lora_A) != 1:
        return False
    (name,) = layer.lora_A
    is_plain = (
        not layer.lora_variant and not layer.lora_bias[name] and isinstance(layer.lora_dropout[name], torch.nn.Identity)
    )
    is_used = layer.active_adapters == [name] and not layer.disable_adapters and not layer.merged
    weight = layer.base_layer.weight
    is_fp32 = weight.dtype == layer.lora_A[name].weight.dtype == torch.float32
    return is_plain and is_used and is_fp32 and not weight.requires_grad


class _Plain:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        if x.dtype != torch.float32:
            return torch.nn.functional.linear(x, layer.weight, layer.bias)
        out: torch.Tensor = _Product.apply(x.flatten(0, -2), layer.weight, layer.bias)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], out.shape[-1])


class _Adapted:
    def __init__(self, layer: Any) -> None:
        self.layer, self.slow = layer, type(layer).forward
        (name,) = layer.active_adapters
        self.a, self.b, self.scale = layer.lora_A[name], layer.lora_B[name], float(layer.scaling[name])

    def __call__(self, x: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        if x.dtype != torch.float32 or x[..., 0].numel() < MIN_POSITIONS or others or named:
            slow: torch.Tensor = self.slow(self.layer, x, *others, **named)
            return slow
        base = self.layer.base_layer
        out: torch.Tensor = _AdaptedProduct.apply(  # type: ignore[no-untyped-call]
            x.flatten(0, -2), base.weight, base.bias, self.a.weight, self.b.weight, self.scale
        )
        return out.view(*x.shape[:-1], out.shape[-1])


class _Normed:
    def __init__(self, layer: Any) -> None:
        self.layer, self.slow = layer, type(layer).forward

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        if x.dtype != torch.float32:
            slow: torch.Tensor = self.slow(layer, x)
            return slow
        out: torch.Tensor = _Norm.apply(x, layer.weight, layer.variance_epsilon)  # type: ignore[no-untyped-call]
        return out
