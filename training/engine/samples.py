"""What the model says while it learns: greedy answers to held-out prompts, and the loss on held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from training.engine.architectures import get_family
from training.engine.batches import IGNORED, Batch, make_batch
from training.engine.corpus import Corpus
from training.engine.losses import compute_loss_sum

PROMPTS = 2
MAX_PROMPT_TOKENS = 128
MAX_NEW_TOKENS = 24
HELD_OUT_MOST = 16  # documents of the held-out loss; more would cost a CPU run minutes


def choose_prompts(corpus: Corpus, tokenizer: Any) -> list[dict[str, Any]]:
    """Up to two short prompts: {"prompt" for people, "ids" for the model}."""
    rows = corpus.read_held_out()
    encoded = [(r["prompt"], tokenizer(r["input"], add_special_tokens=False)["input_ids"]) for r in rows]
    fitting = sorted((p for p in encoded if 0 < len(p[1]) <= MAX_PROMPT_TOKENS), key=lambda p: (len(p[1]), p[0]))
    return [{"prompt": prompt, "ids": ids} for prompt, ids in fitting[:PROMPTS]]


def make_held_out_batches(corpus: Corpus, *, context_tokens: int, device: torch.device) -> list[Batch]:
    batches = []
    for row in corpus.read_held_out()[:HELD_OUT_MOST]:
        ids = np.array(row["token_ids"][: context_tokens + 1], dtype=np.int64)
        learnt = np.array(row["learnt"][: context_tokens + 1], dtype=bool)
        if learnt[1:].any():
            batches.append(make_batch([ids[:-1]], [np.where(learnt[1:], ids[1:], IGNORED)], device))
    return batches


@torch.no_grad()
def answer_greedily(model: Any, ids: list[int], *, end_tokens: set[int], new_tokens: int = MAX_NEW_TOKENS) -> list[int]:
    """The most likely continuation, without random numbers; stops before an end token."""
    device = next(model.parameters()).device
    said: list[int] = []
    step, past, cache = torch.tensor([ids], device=device), None, get_family(model.config).cache
    for _ in range(new_tokens):
        out = model(input_ids=step, use_cache=True, **{cache: past})
        past = out[cache]
        token = int(out.logits[0, -1].argmax())
        if token in end_tokens:
            break
        said.append(token)
        step = torch.tensor([[token]], device=device)
    return said


@torch.no_grad()
def measure_held_out(model: Any, batches: list[Batch], *, dtype: torch.dtype) -> float | None:
    """Mean loss a learnt token; None where nothing was held out."""
    if not batches:
        return None
    total = sum(float(compute_loss_sum(model, batch, dtype=dtype)) for batch in batches)
    return total / sum(batch.learnt for batch in batches)
