"""Token by token: the loop under `generate`, `chat` and the generation tasks of a suite.

A row's text depends on its prompt, the settings and its own seed only, never on its neighbours: each row draws from its
own generator, and rows that have ended leave the batch. Legend: B rows, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.engine.architectures import PADDED, get_family
from training.engine.errors import EngineError

MAX_NEW_TOKENS = 8192


@dataclass(frozen=True)
class Settings:
    """How to pick tokens. Temperature 0 takes the likeliest one."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0  # draw from the likeliest tokens that hold this share of the probability
    seed: int = 0

    def check(self) -> None:
        """Raises EngineError naming the first setting out of range."""
        bounds: dict[str, tuple[float, float]] = {
            "max_new_tokens": (1, MAX_NEW_TOKENS),
            "temperature": (0, 5),
            "top_p": (0.01, 1),
            "seed": (0, 2**53),  # what JSON carries everywhere
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            kinds = (int,) if name in ("max_new_tokens", "seed") else (int, float)
            if type(value) not in kinds or not low <= value <= high:
                hint = f"choose {low} to {high}"
                raise EngineError(f"{name} cannot be {value!r}; {hint}.", code="bad_setting", hint=hint)


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    settings: Settings,
    *,
    stop_ids: frozenset[int],
    row_seeds: Sequence[int] | None = None,
    on_token: Callable[[int, int], None] = lambda row, token: None,
    is_over: Callable[[Sequence[int]], bool] = lambda tokens: False,
) -> list[list[int]]:
    """New token ids per prompt, without the stop token. The caller has checked that prompt + new tokens fit.

    `is_over` looks at the tokens of one answer so far and may end it there."""
    answers: list[list[int]] = [[] for _ in prompts]
    generators = [_start_generator(settings, seed) for seed in row_seeds or [0] * len(prompts)]
    rows = list(range(len(prompts)))
    for group in _group_equals(prompts) if get_family(model.config).packing == PADDED else [rows]:
        _decode_together(model, prompts, group, answers, generators, settings, stop_ids, on_token, is_over)
    return answers


def _group_equals(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows by the length of their prompt: a state would run over the filling before a shorter one."""
    lengths = sorted({len(prompt) for prompt in prompts})
    return [[row for row, prompt in enumerate(prompts) if len(prompt) == length] for length in lengths]


def _decode_together(
    model: Any,
    prompts: Sequence[Sequence[int]],
    alive: list[int],
    answers: list[list[int]],
    generators: list[torch.Generator],
    settings: Settings,
    stop_ids: frozenset[int],
    on_token: Callable[[int, int], None],
    is_over: Callable[[Sequence[int]], bool],
) -> None:
    """Fill `answers` of the rows `alive`, which share every pass."""
    from transformers import DynamicCache

    family = get_family(model.config)
    tokens, seen = _pad_left([prompts[row] for row in alive], model.device)
    cache = DynamicCache(config=model.config)
    for step in range(settings.max_new_tokens):
        inputs = {"input_ids": tokens, family.cache: cache}
        if family.packing != PADDED:
            positions = (seen.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            inputs |= {"attention_mask": seen, "position_ids": positions}
        logits_BV = model(**inputs, use_cache=True, logits_to_keep=1).logits[:, -1]
        picked = _pick(logits_BV, settings, [generators[row] for row in alive])
        kept = [place for place, token in enumerate(picked) if token not in stop_ids]
        for place in kept:
            answers[alive[place]].append(picked[place])
            on_token(alive[place], picked[place])
        kept = [place for place in kept if not is_over(answers[alive[place]])]
        if not kept or step + 1 == settings.max_new_tokens:
            break
        if len(kept) < len(alive):
            chosen = torch.tensor(kept, device=model.device)
            # Selects rows too, and unlike batch_select_indices knows states.
            cache.reorder_cache(chosen)  # type: ignore[arg-type]
            seen = seen[chosen]
            alive = [alive[place] for place in kept]
        tokens = torch.tensor([[picked[place]] for place in kept], device=model.device)
        seen = torch.cat([seen, torch.ones_like(tokens)], dim=1)


def _start_generator(settings: Settings, row_seed: int) -> torch.Generator:
    # On the CPU on every device: the same seed then draws the same numbers.
    return torch.Generator().manual_seed((settings.seed * 1_000_003 + row_seed) % 2**63)


def _pad_left(prompts: Sequence[Sequence[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, int64 [B, longest prompt]."""
    longest = max(len(prompt) for prompt in prompts)
    tokens = torch.zeros(len(prompts), longest, dtype=torch.int64)
    seen = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(list(prompt))
        seen[row, longest - len(prompt) :] = 1
    return tokens.to(device), seen.to(device)


def _pick(logits_BV: torch.Tensor, settings: Settings, generators: Sequence[torch.Generator]) -> list[int]:
    """One token a row. Drawn as a race of exponential clocks, a clock for each token: two models that give nearly the same
    shares and draw with the same seed pick the same token nearly always, which is what a paired comparison lives on."""
    if settings.temperature == 0:
        picked: list[int] = logits_BV.argmax(dim=-1).tolist()
        return picked
    shares = torch.softmax(logits_BV.double().cpu() / settings.temperature, dim=-1)
    if settings.top_p < 1:
        ordered, places = shares.sort(dim=-1, descending=True)
        # A token stays when those before it hold less than top_p; the first one always stays.
        ordered[ordered.cumsum(-1) - ordered >= settings.top_p] = 0
        shares = torch.zeros_like(shares).scatter(-1, places, ordered)
    clocks = torch.empty_like(shares)
    for row, generator in zip(clocks, generators, strict=True):
        row.exponential_(generator=generator)
    drawn: list[int] = (shares / clocks).argmax(dim=-1).tolist()
    return drawn
