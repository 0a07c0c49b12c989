"""Attention over documents that lie one after another: none sees its neighbour.

Registered with transformers under NAME, so it serves every architecture whose layers attend. transformers builds no
mask for a name without one: windows, soft caps and sinks are ours to apply, and what is not known here is refused.
Legend: B rows, H heads, K key heads, N positions, D head width."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

NAME = "packed_documents"
# Settings that models hand to every attention and that change nothing here.
WITHOUT_EFFECT = {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "cache_position"} | {
    "output_router_logits"
}


_hidden: dict[str, Any] = {}  # what compiled layers do not see


@contextmanager
def documents_of_layer(documents: dict[str, Any]) -> Iterator[None]:
    """While it lasts, `attend` knows the documents without being told through the layer."""
    _hidden.update(documents)
    try:
        yield
    finally:
        _hidden.clear()


def attend(
    module: torch.nn.Module,
    query_BHND: torch.Tensor,
    key_BKND: torch.Tensor,
    value_BKND: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    document_lengths: tuple[int, ...] | None = None,
    document_ends: torch.Tensor | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document; [B, N, H, D]. Without `document_lengths` every row is one document.

    `document_ends` int32 [S + 1] on the device, where the fused kernel of CUDA is to be used. `sliding_window` counts
    the position itself; `s_aux` [H] are sinks."""
    document_lengths = document_lengths or _hidden.get("document_lengths")
    document_ends = document_ends if document_ends is not None else _hidden.get("document_ends")
    assert attention_mask is None, "packed documents need no mask; filling stands to the right, unseen"
    assert getattr(module, "is_causal", True), "attention to both sides is not supported"
    assert others.keys() <= WITHOUT_EFFECT, f"unknown settings of attention: {sorted(others.keys() - WITHOUT_EFFECT)}"
    longest = max(document_lengths) if document_lengths else key_BKND.shape[2]
    window = sliding_window if sliding_window and sliding_window < longest else None
    is_plain = window is None and softcap is None and s_aux is None
    if is_plain and document_ends is not None and document_lengths is not None:
        # Rotating by fp32 angles may have widened queries and keys; values have the precision that was asked for.
        query, key = query_BHND.to(value_BKND.dtype), key_BKND.to(value_BKND.dtype)
        return _attend_fused(query, key, value_BKND, scaling, longest, document_ends), None
    repeats = query_BHND.shape[1] // key_BKND.shape[1]
    if is_plain and query_BHND.device.type == "cpu":
        repeats = 1  # its kernel lets several heads read one key
    key = key_BKND.repeat_interleave(repeats, dim=1) if repeats > 1 else key_BKND
    value = value_BKND.repeat_interleave(repeats, dim=1) if repeats > 1 else value_BKND
    attend_one = functools.partial(_attend_one, scaling=scaling, window=window, softcap=softcap, sinks=s_aux)
    if document_lengths is None:
        # Also the decoding step of a sample: one query that sees every key.
        return attend_one(query_BHND, key, value).transpose(1, 2).contiguous(), None
    # split, not slices: its backward is one concatenation, a slice's is a whole-size zero tensor for each document.
    parts = zip(*(torch.split(t, list(document_lengths), dim=2) for t in (query_BHND, key, value)), strict=True)
    out_BHND = torch.cat([attend_one(q, k, v) for q, k, v in parts], dim=2)
    return out_BHND.transpose(1, 2).contiguous(), None


def _attend_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    queries, keys = query.shape[2], key.shape[2]
    window = window if window and window < keys else None
    if softcap is not None or sinks is not None:
        return _attend_eagerly(query, key, value, scaling, _see(queries, keys, window, key.device), softcap, sinks)
    if window is not None:
        seen = _see(queries, keys, window, key.device)
        return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scaling)
    is_grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=queries > 1, scale=scaling, enable_gqa=is_grouped)


def _see(queries: int, keys: int, window: int | None, device: torch.device) -> torch.Tensor:
    """bool [queries, keys]: may the row see the column? The queries are the last of the keys' positions."""
    at = torch.arange(keys - queries, keys, device=device)[:, None]
    of = torch.arange(keys, device=device)[None]
    seen = of <= at
    return seen if window is None else seen & (of > at - window)


def _attend_eagerly(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    seen: torch.Tensor,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """With all scores in memory: a soft cap bends them below itself, a sink takes a share and gives nothing."""
    scores = query @ key.transpose(2, 3) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.float().masked_fill(~seen, -torch.inf)
    if sinks is not None:
        column = sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    shares = torch.softmax(scores, dim=-1)[..., : key.shape[2]]
    return shares.to(value.dtype) @ value


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


def register(function: Callable[..., Any] = attend) -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, function)
