"""Which architectures are trained and served, and how each keeps documents apart.

    fused   plain causal attention: documents lie one after another, the fastest kernel of the device reads them
    masked  a sliding window, a soft cap or sinks: the same layout, with a mask a document wherever one of them bites
    padded  a state or a convolution runs along the row: each document has its own row, filled up on the right

A type that is not listed is refused, for a wrong path shows in no error, only in worse models. Listing one means adding
it to the tables of tests/training/engine/test_architectures.py, which compare every gradient with transformers' own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FUSED, MASKED, PADDED = "fused", "masked", "padded"
UNBOUNDED_CONTEXT = 1 << 15  # of a model without positions: what we are ready to hold in memory


@dataclass(frozen=True)
class Family:
    packing: str
    attention: str = "sdpa"  # of transformers, when the model is read for answers; eager where sdpa leaves a part out
    # Linear layers that an adapter is put on. State-space kernels read the weights of their other layers directly,
    # past any adapter.
    adapted: str | tuple[str, ...] = "all-linear"
    cache: str = "past_key_values"  # the name under which forward takes and gives what it has read


FAMILIES = {
    "gemma": Family(FUSED),
    "gemma2": Family(MASKED, attention="eager"),
    "gemma3_text": Family(MASKED),
    "gpt_neox": Family(FUSED),
    "gpt_oss": Family(MASKED, attention="eager"),
    "lfm2": Family(PADDED),
    "llama": Family(FUSED),
    "mamba": Family(PADDED, attention="eager", adapted=("in_proj",), cache="cache_params"),
    "mamba2": Family(PADDED, attention="eager", adapted=("in_proj",), cache="cache_params"),
    "mistral": Family(MASKED),
    "olmo2": Family(FUSED),
    "olmo3": Family(MASKED),
    "phi": Family(FUSED),
    "qwen2": Family(MASKED),
    "qwen3": Family(MASKED),
    "smollm3": Family(MASKED),
    "starcoder2": Family(MASKED),
}  # fmt: skip
MODEL_TYPES = tuple(FAMILIES)


def get_family(config: Any) -> Family:
    """KeyError for a type that is not listed; hf_format has refused it before."""
    return FAMILIES[config.model_type]


def find_packing(config: Any, longest: int | None = None) -> str:
    """The path of one model: a family that may mask is fused where there is nothing to mask.

    `longest` is that of the documents, in tokens; without it the model's whole context may be read."""
    family = get_family(config)
    is_plain = family.packing == MASKED and not _needs_mask(config, longest or find_context(config))
    return FUSED if is_plain else family.packing


def _needs_mask(config: Any, longest: int) -> bool:
    if getattr(config, "attn_logit_softcapping", None) or config.model_type == "gpt_oss":
        return True
    window = getattr(config, "sliding_window", None)
    slides = "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
    return bool(slides and window and window < longest)


def find_context(config: Any) -> int:
    """Tokens the model reads at most."""
    return int(getattr(config, "max_position_embeddings", None) or UNBOUNDED_CONTEXT)


def get_soft_cap(config: Any) -> float | None:
    """What the logits are bent to stay below, or None."""
    cap = getattr(config, "final_logit_softcapping", None)
    return float(cap) if cap else None
