"""Networks that are made from nothing: what an `architecture` of a recipe means in the words of a config.json, how many
parameters that are, and sizes by name.

The shapes of the larger sizes are published ones: 135m and 350m are SmolLM's (https://huggingface.co/blog/smollm), 1b is
TinyLlama's (https://arxiv.org/abs/2401.02385); the smaller ones keep their proportions with heads of 64. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

HEAD_WIDTH = 64
TOKENS_PER_PARAMETER = 20  # that pay for themselves; source: https://arxiv.org/abs/2203.15556
STATE, CONVOLUTION = 16, 4  # of mamba
SHORT_CONVOLUTION = 3  # of lfm2


class Shape(Protocol):
    """The numbers of recipe_schema.Architecture."""

    @property
    def family(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> Any: ...
    @property
    def context_tokens(self) -> int: ...


@dataclass(frozen=True)
class Preset:
    family: str
    size: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    vocabulary: int  # of a tokenizer that suits the size
    context_tokens: int = 1024

    @property
    def name(self) -> str:
        return f"{self.family} {self.size}"

    @property
    def parameters(self) -> int:
        return count_parameters(self, self.vocabulary)

    @property
    def tokens(self) -> int:
        """Worth training on, rounded to two figures."""
        wanted = TOKENS_PER_PARAMETER * self.parameters
        step: int = 10 ** (len(str(wanted)) - 2)
        return round(wanted / step) * step


# size -> layers, width, heads, key heads, vocabulary; of networks of attention and a gated inner width
SIZES = {
    "10m": (10, 256, 4, 2, 8192),
    "30m": (14, 384, 6, 3, 16384),
    "135m": (30, 576, 9, 3, 49152),
    "350m": (32, 960, 15, 5, 49152),
    "1b": (22, 2048, 32, 4, 32768),
}
# A layer of mamba holds about half of what one of llama holds.
MAMBA_SIZES = {
    "10m": (18, 256, 1, 1, 8192),
    "30m": (22, 384, 1, 1, 16384),
    "135m": (24, 768, 1, 1, 49152),
    "350m": (48, 1024, 1, 1, 49152),
    "1b": (48, 1792, 1, 1, 49152),
}


def round_up(number: float, step: int) -> int:
    return math.ceil(number / step) * step


def gated_width(shape: Shape) -> int:
    """8/3 of the outer width, in whole blocks of 64."""
    return max(64, round_up(shape.width * 8 / 3, 64))


def key_heads(shape: Shape) -> int:
    return shape.heads if shape.kv_heads == "auto" else int(shape.kv_heads)


# --- each family in the words of its config.json


def _describe_llama(shape: Shape) -> dict[str, Any]:
    return {
        "intermediate_size": gated_width(shape),
        "num_attention_heads": shape.heads,
        "num_key_value_heads": key_heads(shape),
        "max_position_embeddings": shape.context_tokens,
        "tie_word_embeddings": True,
    }


def _describe_with_heads(shape: Shape) -> dict[str, Any]:
    return _describe_llama(shape) | {"head_dim": shape.width // shape.heads}


def _describe_mistral(shape: Shape) -> dict[str, Any]:
    return _describe_with_heads(shape) | {"sliding_window": None}


def _describe_gemma(shape: Shape) -> dict[str, Any]:
    window = min(512, shape.context_tokens)
    head = shape.width // shape.heads
    return _describe_with_heads(shape) | {"query_pre_attn_scalar": head, "sliding_window": window}


def _describe_neox(shape: Shape) -> dict[str, Any]:
    return {
        "intermediate_size": 4 * shape.width,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.context_tokens,
        "tie_word_embeddings": False,
    }


def _describe_lfm(shape: Shape) -> dict[str, Any]:
    kinds = ["full_attention" if number % 3 == 2 else "conv" for number in range(shape.layers)]
    return _describe_llama(shape) | {
        "layer_types": kinds,
        "block_auto_adjust_ff_dim": False,
        "conv_L_cache": SHORT_CONVOLUTION,
        "conv_bias": False,
    }


def _describe_mamba(shape: Shape) -> dict[str, Any]:
    return {
        "intermediate_size": 2 * shape.width,
        "expand": 2,
        "state_size": STATE,
        "conv_kernel": CONVOLUTION,
        "time_step_rank": math.ceil(shape.width / 16),
        "tie_word_embeddings": True,
    }


# --- and in parameters of one layer


def _count_attention(shape: Shape) -> int:
    head = shape.width // shape.heads
    return 2 * shape.width * shape.heads * head + 2 * shape.width * key_heads(shape) * head


def _count_llama(shape: Shape) -> int:
    return shape.layers * (_count_attention(shape) + 3 * shape.width * gated_width(shape) + 2 * shape.width)


def _count_qwen(shape: Shape) -> int:
    return _count_llama(shape) + shape.layers * 2 * (shape.width // shape.heads)


def _count_gemma(shape: Shape) -> int:
    return _count_qwen(shape) + shape.layers * 2 * shape.width


def _count_neox(shape: Shape) -> int:
    return shape.layers * (12 * shape.width**2 + 13 * shape.width) + shape.width


def _count_lfm(shape: Shape) -> int:
    attending = shape.layers // 3
    short = 4 * shape.width**2 + SHORT_CONVOLUTION * shape.width
    each = 3 * shape.width * gated_width(shape) + 2 * shape.width
    whole = attending * (_count_attention(shape) + 2 * (shape.width // shape.heads))
    return shape.layers * each + whole + (shape.layers - attending) * short


def _count_mamba(shape: Shape) -> int:
    inner, rank = 2 * shape.width, math.ceil(shape.width / 16)
    mixing = 2 * shape.width * inner + inner * shape.width + inner * (CONVOLUTION + 1)
    selecting = inner * (rank + 2 * STATE) + rank * inner + inner + inner * STATE + inner
    return shape.layers * (mixing + selecting + shape.width)


@dataclass(frozen=True)
class Network:
    title: str
    describe: Callable[[Shape], dict[str, Any]]
    count: Callable[[Shape], int]  # parameters of all layers
    sizes: dict[str, tuple[int, int, int, int, int]]
    is_tied: bool = True  # embeddings and head are one matrix
    shares_keys: bool = True  # several heads may read one key


NETWORKS = {
    "llama": Network("Llama", _describe_llama, _count_llama, SIZES),
    "qwen3": Network("Qwen3", _describe_with_heads, _count_qwen, SIZES),
    "mistral": Network("Mistral", _describe_mistral, _count_llama, SIZES),
    "gemma3_text": Network("Gemma 3", _describe_gemma, _count_gemma, SIZES),
    "gpt_neox": Network("GPT-NeoX", _describe_neox, _count_neox, SIZES, is_tied=False, shares_keys=False),
    "lfm2": Network("LFM2, attention and short convolutions", _describe_lfm, _count_lfm, SIZES),
    "mamba": Network("Mamba, a state space", _describe_mamba, _count_mamba, MAMBA_SIZES),
}
FAMILIES = tuple(NETWORKS)


def describe_network(shape: Shape, vocabulary: int) -> dict[str, Any]:
    """What config.json says of the network; what it leaves out is the family's usual value."""
    common = {
        "model_type": shape.family,
        "vocab_size": vocabulary,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
    }
    return common | NETWORKS[shape.family].describe(shape)


def count_parameters(shape: Shape, vocabulary: int) -> int:
    """All of them, exactly."""
    network = NETWORKS[shape.family]
    matrices = 1 if network.is_tied else 2
    return matrices * vocabulary * shape.width + network.count(shape) + shape.width  # and the last norm


def find_preset(family: str, size: str) -> Preset:
    """KeyError for one that is not listed."""
    network = NETWORKS[family]
    layers, width, heads, kv_heads, vocabulary = network.sizes[size]
    preset = Preset(family, size, layers, width, heads, kv_heads, vocabulary)
    return preset if network.shares_keys else replace(preset, kv_heads=heads)


def list_presets() -> list[Preset]:
    return [find_preset(family, size) for family, network in NETWORKS.items() for size in network.sizes]
