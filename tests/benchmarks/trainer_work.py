"""What the trainers are compared on: samples, sizes of models, and how many operations a token costs.

Legend: N positions of a document, L layers, H heads, d width of a head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.engine.batches import Batches
from training.engine.config import Plan
from training.engine.corpus import Corpus

H100_FLOPS = 989.4e12  # bf16, dense
SPREAD = 1.0  # of the logarithm of the lengths: many short samples, a few long ones, as in chat data
SHORTEST = 16


@dataclass(frozen=True)
class Size:
    """A Llama and the rows it is trained on."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    mean_tokens: int  # of a sample
    most_tokens: int
    batch_rows: int = 8  # samples of a padded batch, rows of a packed one: the same positions at most

    def describe(self, attention: str) -> Any:
        from transformers import LlamaConfig

        describe: Any = LlamaConfig
        return describe(
            vocab_size=self.vocabulary, hidden_size=self.width, intermediate_size=self.inner,
            num_hidden_layers=self.layers, num_attention_heads=self.heads, num_key_value_heads=self.kv_heads,
            max_position_embeddings=self.most_tokens, tie_word_embeddings=True, attn_implementation=attention,
            bos_token_id=0, eos_token_id=0, pad_token_id=0, use_cache=False,
        )  # fmt: skip


SIZES = {
    ("cpu", "tune"): Size(6, 384, 1024, 6, 2, 8192, mean_tokens=112, most_tokens=512),  # 12.6M
    ("cpu", "pretrain"): Size(6, 384, 1024, 6, 2, 8192, mean_tokens=512, most_tokens=512),
    ("cuda", "tune"): Size(16, 2048, 8192, 32, 8, 128_256, mean_tokens=450, most_tokens=2048),  # 1.24B
    ("cuda", "pretrain"): Size(24, 1024, 2816, 16, 16, 32_768, mean_tokens=2048, most_tokens=2048),  # 342M
}


def draw_samples(count: int, size: Size, seed: int) -> list[NDArray[np.int64]]:
    """Token ids of each sample. Lengths are log-normal with the mean of `size`, none above its greatest; where the mean
    is the greatest, all are."""
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal(count)
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        lengths = np.clip(np.exp(middle + SPREAD * spread), SHORTEST, size.most_tokens)
        low, high = (middle, high) if lengths.mean() < size.mean_tokens else (low, middle)
    lengths = np.clip(np.exp(high + SPREAD * spread), SHORTEST, size.most_tokens).round().astype(int)
    # One more: a document of n + 1 tokens is n positions that learn.
    return [rng.integers(1, size.vocabulary, n + 1) for n in lengths]


def make_corpus(samples: list[NDArray[np.int64]]) -> Corpus:
    """The samples as the engine reads them, all of it learnt."""
    tokens = np.concatenate(samples).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in samples])]).astype(np.int64)
    return Corpus(Path(), {}, tokens, np.ones(len(tokens), dtype=np.uint8), offsets)


def list_padded(samples: list[NDArray[np.int64]]) -> list[dict[str, Any]]:
    """A row a sample. The trainer of transformers shifts the labels itself."""
    return [{"input_ids": s, "labels": s, "length": len(s)} for s in samples]


def list_packed(samples: list[NDArray[np.int64]], plan: Plan) -> list[dict[str, Any]]:
    """Rows of the engine's own packing, in the order in which its steps read them: ids, position ids that begin again
    with each sample, and labels."""
    batches = Batches(make_corpus(samples), plan)
    rows = []
    for row in (row for step in range(plan.steps) for row in batches.rows_of(step)):
        batch = batches.build([row], torch.device("cpu"))
        targets = batch.targets.numpy()
        rows.append(
            {
                "input_ids": batch.tokens[0].numpy(),
                "position_ids": batch.positions[0].numpy(),
                "shift_labels": targets,
                "length": len(targets),
            }
        )
    return rows


def count_operations(size: Size, model: torch.nn.Module, samples: list[NDArray[np.int64]]) -> float:
    """F, operations of a learnt token: 6 for each weight of a matrix product (4 where it is frozen, 6 for adapters), and
    12 L H d of the positions that are seen."""
    weights = {name: p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name}
    frozen = sum(p.numel() for p in weights.values() if not p.requires_grad)
    learning = sum(p.numel() for p in weights.values() if p.requires_grad)
    head = size.vocabulary * size.width  # tied to the embedding, which is left out above
    is_adapter = "lora" in " ".join(weights)
    products = 4 * (frozen + head) + 6 * learning if is_adapter else 6 * (learning + head)
    lengths = np.array([len(s) - 1 for s in samples], dtype=np.float64)
    context = float((lengths * (lengths + 1) / 2).sum() / lengths.sum())
    return products + 12 * size.layers * size.width * context
