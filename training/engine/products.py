"""Matrix products of a run on a CPU, by the faster of the two libraries that torch brings, and one product for a layer
and its adapter together.

oneDNN uses the widest instructions of every x86 processor, the default library (MKL) those of its maker's only, and there
it is the faster one by some percent. An adapter is added to its layer's weights for the length of one product, W + s B A:
that costs a thousandth of the product, where three products and three sums of whole activations stood before. Both are in
fp32, where adding loses nothing.

Under `rounding` the factors of a product are rounded to bf16 and summed in fp32, what some processors do several times as
fast; all else stays fp32. Small steps of an adapter would be lost in a rounded sum, so there it has products of its own.
Legend: N positions, I inputs, O outputs, r rank."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

MIN_POSITIONS = 128  # below, adding an adapter to the weights costs more than it saves


_rounds = [False]  # whether `rounding` is in force


@contextmanager
def rounding(is_wanted: bool) -> Iterator[None]:
    """While it lasts, the products below read their factors rounded to bf16."""
    before, _rounds[0] = _rounds[0], is_wanted
    try:
        yield
    finally:
        _rounds[0] = before


@contextmanager
def _precision() -> Iterator[None]:
    """Of one product. Not for longer: the kernel of attention would round its small blocks, too, which makes it slow."""
    if not _rounds[0]:
        yield
        return
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, matmul.fp32_precision = matmul.fp32_precision, "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def multiply(x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None) -> torch.Tensor:
    """x W^T + b in fp32 on a CPU, [N, O]; the weight may be a transposed view."""
    with _precision():
        if is_of_intel():
            return torch.nn.functional.linear(x_NI, weight_OI, bias_O)
        return _multiply_by_onednn(x_NI, weight_OI, bias_O)


def _multiply_by_onednn(
    x_NI: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None = None
) -> torch.Tensor:
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, bias_O, "none", [], "")
    return product


def sum_outer(left_NO: torch.Tensor, right_NI: torch.Tensor) -> torch.Tensor:
    """Of a product's weights, the gradient: the sum of outer products, [O, I]."""
    with _precision():
        return left_NO.t() @ right_NI


def add_outer_(total_OI: torch.Tensor, left_NO: torch.Tensor, right_NI: torch.Tensor) -> torch.Tensor:
    """`sum_outer`, added in place."""
    with _precision():
        return total_OI.addmm_(left_NO.t(), right_NI)


@functools.cache
def is_of_intel() -> bool:
    """Whether the processor is one for which MKL was written. False where nobody says."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return "GenuineIntel" in file.read(4096) and bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    except OSError:
        return False


@functools.cache
def rounds_fast() -> bool:
    """Whether this processor multiplies matrices of bf16 in hardware (AMX), and torch uses it for fp32 when asked: tried,
    for libraries can be told to leave it alone."""
    asks: Any = getattr(torch.cpu, "_is_amx_tile_supported", None)
    matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
    if not has_library() or not hasattr(matmul, "fp32_precision") or asks is None or not asks():
        return False
    x = torch.linspace(-1, 1, 256 * 256).view(256, 256)
    plain = multiply(x, x)
    with rounding(True):
        return not torch.equal(multiply(x, x), plain)


@functools.cache
def has_library() -> bool:
    """Whether oneDNN is there and agrees with the default library on a small product."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # type: ignore[no-untyped-call]
        return False
    x, weight = torch.linspace(-1, 1, 96).view(8, 12), torch.linspace(1, -1, 60).view(5, 12)
    try:
        product = x @ weight.t()
        return torch.allclose(_multiply_by_onednn(x, weight), product, atol=1e-5) and torch.allclose(
            _multiply_by_onednn(product, weight.t()), product @ weight, atol=1e-5
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
            sum_outer(grad_NO, x_NI) if needs_weight else None,
            grad_NO.sum(0) if needs_bias else None,
        )


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
        if _rounds[0]:
            return multiply(x_NI, weight_OI, bias_O).addmm_(x_NI @ a_rI.t(), b_Or.t(), alpha=scale)
        return multiply(x_NI, torch.addmm(weight_OI, b_Or, a_rI, alpha=scale), bias_O)

    @staticmethod
    def backward(ctx: Any, grad_NO: torch.Tensor) -> Any:
        x_NI, weight_OI, a_rI, b_Or = ctx.saved_tensors
        grad_x, grad_Nr = None, grad_NO @ b_Or
        if ctx.needs_input_grad[0] and _rounds[0]:
            grad_x = multiply(grad_NO, weight_OI.t()).addmm_(grad_Nr, a_rI, alpha=ctx.scale)
        elif ctx.needs_input_grad[0]:
            # Added again: to keep it would hold a second copy of the whole model.
            grad_x = multiply(grad_NO, torch.addmm(weight_OI, b_Or, a_rI, alpha=ctx.scale).t())
        grad_a = (grad_Nr.t() @ x_NI).mul_(ctx.scale)
        grad_b = (grad_NO.t() @ (x_NI @ a_rI.t())).mul_(ctx.scale)
        return grad_x, None, None, grad_a, grad_b, None


def is_adapted(layer: Any) -> bool:
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


class Plain:
    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        if x.dtype != torch.float32:
            return torch.nn.functional.linear(x, layer.weight, layer.bias)
        out: torch.Tensor = _Product.apply(x.flatten(0, -2), layer.weight, layer.bias)  # type: ignore[no-untyped-call]
        return out.view(*x.shape[:-1], out.shape[-1])


class Adapted:
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
