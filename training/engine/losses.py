"""Cross-entropy without ever holding all logits: [N, V] of a small batch is already larger than a small model.

Legend: N positions, D width, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch

from training.engine.architectures import get_soft_cap
from training.engine.batches import IGNORED, Batch
from training.engine.documents import apply_head, bend, get_plain, read_hidden
from training.engine.footprint import CHUNK_BYTES
from training.engine.products import add_outer_, choose_product, sum_outer


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Computes the gradients along with the loss, chunk by chunk, and only scales them in backward."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        chunk: int,
        dtype: torch.dtype,
        wants: tuple[bool, bool],
        cap: float | None,
    ) -> torch.Tensor:
        weight = weight_VD.to(dtype)
        product = choose_product(hidden_ND.device, dtype)
        grad_hidden = torch.empty_like(hidden_ND) if wants[0] else None
        grad_weight = torch.zeros(weight_VD.shape, dtype=torch.float32, device=weight.device) if wants[1] else None
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), chunk):
            part = slice(start, start + chunk)
            hidden, targets = hidden_ND[part].to(dtype), targets_N[part]
            logits = product(hidden, weight).float()
            if cap is not None:
                bent = torch.tanh(logits / cap)
                logits, slope = cap * bent, 1.0 - bent.square()
            logits = logits.log_softmax(1)
            total -= logits.gather(1, targets[:, None]).sum()
            if not any(wants):
                continue
            grad = logits.exp_()  # softmax, in place
            grad[torch.arange(len(targets), device=grad.device), targets] -= 1.0
            if cap is not None:
                grad *= slope
            grad = grad.to(dtype)
            if grad_hidden is not None:
                grad_hidden[part] = product(grad, weight.t()).to(hidden_ND.dtype)
            if grad_weight is not None and grad.dtype == torch.float32:
                add_outer_(grad_weight, grad, hidden)
            elif grad_weight is not None:
                grad_weight += grad.t() @ hidden
        ctx.grads = (grad_hidden, grad_weight.to(weight_VD.dtype) if grad_weight is not None else None)
        return total

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> Any:
        grad_hidden, grad_weight = ctx.grads
        scaled = [g.mul_(scale.to(g.dtype)) if g is not None else None for g in (grad_hidden, grad_weight)]
        return (*scaled, None, None, None, None, None)


def sum_cross_entropy(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    chunk: int | None = None,
    cap: float | None = None,
) -> torch.Tensor:
    """Sum over the learnt positions, fp32 scalar. Positions that are not learnt cost nothing: no logits are made.

    `dtype` is that of the matrix products, `cap` what the logits are bent below; backward may run once."""
    learnt = targets_N != IGNORED
    hidden, targets = hidden_ND[learnt], targets_N[learnt]
    chunk = chunk or max(16, CHUNK_BYTES[hidden.device.type] // (4 * len(weight_VD)))
    needs_grad = torch.is_grad_enabled()
    wants = (needs_grad and hidden.requires_grad, needs_grad and weight_VD.requires_grad)
    with torch.autocast(hidden.device.type, enabled=False):
        result: torch.Tensor = _ChunkedCrossEntropy.apply(hidden, weight_VD, targets, chunk, dtype, wants, cap)  # type: ignore[no-untyped-call]
    return result


class _LogLikelihoods(torch.autograd.Function):
    """The logits are made once more in backward: what they are weighted with is known only then."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        chunk: int,
        dtype: torch.dtype,
        cap: float | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(hidden_ND, weight_VD, targets_N)
        ctx.settings = (chunk, dtype, cap)
        product, weight = choose_product(hidden_ND.device, dtype), weight_VD.to(dtype)
        found = torch.empty(len(hidden_ND), dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), chunk):
            part = slice(start, start + chunk)
            logits = bend(product(hidden_ND[part].to(dtype), weight).float(), cap)
            found[part] = logits.gather(1, targets_N[part, None])[:, 0] - logits.logsumexp(1)
        return found

    @staticmethod
    def backward(ctx: Any, scale_N: torch.Tensor) -> Any:
        hidden_ND, weight_VD, targets_N = ctx.saved_tensors
        chunk, dtype, cap = ctx.settings
        product, weight = choose_product(hidden_ND.device, dtype), weight_VD.to(dtype)
        wants = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden_ND) if wants[0] else None
        grad_weight = torch.zeros(weight_VD.shape, dtype=torch.float32, device=weight.device) if wants[1] else None
        for start in range(0, len(hidden_ND), chunk):
            part = slice(start, start + chunk)
            hidden, targets = hidden_ND[part].to(dtype), targets_N[part]
            logits = bend(product(hidden, weight).float(), cap)
            grad = logits.softmax(1).neg_()
            grad[torch.arange(len(targets), device=grad.device), targets] += 1.0
            grad *= scale_N[part, None]
            if cap is not None:
                grad *= 1.0 - (logits / cap).square()
            grad = grad.to(dtype)
            if grad_hidden is not None:
                grad_hidden[part] = product(grad, weight.t()).to(hidden_ND.dtype)
            if grad_weight is not None:
                grad_weight += sum_outer(grad, hidden)
        return grad_hidden, grad_weight.to(weight_VD.dtype) if grad_weight is not None else None, *[None] * 4


def compute_log_likelihoods(model: Any, batch: Batch, *, dtype: torch.dtype) -> torch.Tensor:
    """fp32 [S]: of each document, the summed log-likelihood of its learnt tokens. May run backward like any tensor."""
    hidden_ND = read_hidden(model, batch, dtype=dtype)
    learnt = batch.targets != IGNORED
    hidden, targets = hidden_ND[learnt], batch.targets[learnt]
    plain = get_plain(model)
    head = plain.get_output_embeddings()
    if type(head) is torch.nn.Linear and head.bias is None:
        chunk = max(16, CHUNK_BYTES[hidden.device.type] // (4 * len(head.weight)))
        with torch.autocast(hidden.device.type, enabled=False):
            found: torch.Tensor = _LogLikelihoods.apply(
                hidden, head.weight, targets, chunk, dtype, get_soft_cap(plain.config)
            )
    else:
        logits = apply_head(model, hidden).float()
        found = -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    counts = [int(part.sum()) for part in torch.split(learnt.cpu(), list(batch.lengths))]
    return torch.stack([part.sum() for part in torch.split(found, counts)])


def compute_loss_sum(model: Any, batch: Batch, *, dtype: torch.dtype) -> torch.Tensor:
    """Summed cross-entropy of a batch; `model` may be wrapped by peft. `dtype` is that of the matrix products."""
    hidden_ND = read_hidden(model, batch, dtype=dtype)
    plain = get_plain(model)
    head = plain.get_output_embeddings()
    if type(head) is torch.nn.Linear and head.bias is None:
        return sum_cross_entropy(hidden_ND, head.weight, batch.targets, dtype=dtype, cap=get_soft_cap(plain.config))
    learnt = batch.targets != IGNORED
    logits = apply_head(model, hidden_ND[learnt]).float()
    return torch.nn.functional.cross_entropy(logits, batch.targets[learnt], reduction="sum")
