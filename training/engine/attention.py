"""Attention over documents that lie one after another: none sees its neighbour.

Registered with transformers under NAME, so it serves every architecture on hf_format's list. transformers builds no
mask for a name without one. Legend: H heads, K key heads, N positions, D head width."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed_documents"


def attend(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1KND: torch.Tensor,
    value_1KND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    document_lengths: tuple[int, ...] | None = None,
    document_ends: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document; [1, N, H, D]. Without `document_lengths` all positions are one document.

    `document_ends` int32 [S + 1] on the device, where the fused kernel of CUDA is to be used."""
    assert attention_mask is None, "packed documents need no mask, and padding is not supported"
    if document_ends is not None and document_lengths is not None:
        # Rotating by fp32 angles may have widened queries and keys; values have the precision that was asked for.
        query, key = query_1HND.to(value_1KND.dtype), key_1KND.to(value_1KND.dtype)
        return _attend_fused(query, key, value_1KND, scaling, max(document_lengths), document_ends), None
    repeats = query_1HND.shape[1] // key_1KND.shape[1]
    key = key_1KND.repeat_interleave(repeats, dim=1) if repeats > 1 else key_1KND
    value = value_1KND.repeat_interleave(repeats, dim=1) if repeats > 1 else value_1KND
    if document_lengths is None:
        # Also the decoding step of a sample: one query that sees every key.
        return _attend_one(query_1HND, key, value, scaling).transpose(1, 2).contiguous(), None
    # split, not slices: its backward is one concatenation, a slice's is a whole-size zero tensor for each document.
    parts = zip(*(torch.split(t, list(document_lengths), dim=2) for t in (query_1HND, key, value)), strict=True)
    out_1HND = torch.cat([_attend_one(q, k, v, scaling) for q, k, v in parts], dim=2)
    return out_1HND.transpose(1, 2).contiguous(), None


def _attend_one(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    causal = query.shape[2] > 1
    return scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scaling)


def _attend_fused(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None, longest: int, ends: torch.Tensor
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    repeats = query.shape[1] // key.shape[1]
    if repeats > 1 and "enable_gqa" not in FUSED:
        key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
    query_NHD, key_NKD, value_NKD = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))
    attend_fused: Any = varlen_attn  # its settings differ between versions of torch
    out_NHD: torch.Tensor = attend_fused(
        query_NHD, key_NKD, value_NKD, ends, ends, longest, longest, scale=scaling, **FUSED
    )
    return out_NHD[None]


def _find_fused_settings() -> dict[str, Any]:
    """How this torch's fused kernel is told to be causal (2.10 by a flag, later ones by a window); {} without one."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return {}
    known = inspect.signature(varlen_attn).parameters
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    return causal | ({"enable_gqa": True} if "enable_gqa" in known else {})


FUSED = _find_fused_settings()


@functools.cache
def has_fused_kernel(device: torch.device) -> bool:
    """Whether the fused kernel runs here and agrees with the plain one, forward and backward, on a small example.

    Tried rather than trusted: it needs CUDA, a recent card and a recent torch, and its interface is young."""
    if device.type != "cuda" or not FUSED:
        return False
    lengths = (5, 64, 1, 30)
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(1, heads, sum(lengths), 64, generator=generator) for heads in (4, 2, 2)]
    results = []
    try:
        for ends in (None, count_ends(lengths, device)):
            query, key, value = inputs = [t.to(device, torch.bfloat16).requires_grad_() for t in made]
            with torch.autocast("cuda", enabled=False), torch.enable_grad():
                out, _ = attend(torch.nn.Identity(), query, key, value, None, None, 0.0, lengths, ends)
                results.append([out.detach(), *torch.autograd.grad(out.float().square().sum(), inputs)])
    except (RuntimeError, TypeError, ImportError):
        return False
    return all(torch.allclose(a, b, rtol=0.05, atol=0.05) for a, b in zip(*results, strict=True))


def count_ends(lengths: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """int32 [S + 1]: where each document begins, and the end. Summed on the CPU: CUDA's sum is not deterministic."""
    return torch.tensor((0, *lengths)).cumsum(0).to(device, torch.int32)


def describe_documents(lengths: tuple[int, ...], device: torch.device, dtype: torch.dtype | None) -> dict[str, Any]:
    """The keyword arguments of a model's forward that keep documents apart. `dtype` is the autocast's, or None."""
    described: dict[str, Any] = {"document_lengths": lengths}
    if dtype is not None and has_fused_kernel(device):
        described["document_ends"] = count_ends(lengths, device)
    return described


def register() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
