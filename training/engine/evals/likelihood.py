"""Log-likelihoods of continuations, each shared beginning computed once.

Requests become trees of tokens (trees.py). A tree is laid out as one row in which a token sees its ancestors only, so one
forward pass scores every branch, without padding; keys and values of a beginning that the next tree shares are kept for it.
The head of the vocabulary is put to those positions alone that a score is read from.
How many branches share a pass changes no score (within rounding), because no token sees another branch.
A model that does not attend plainly (architectures.py) reads each request in a row of its own instead.

Legend: N tokens that a pass reads, R positions that are rated, D width, V vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from training.engine.architectures import FUSED, find_packing
from training.engine.documents import apply_head, get_body
from training.engine.errors import EngineError
from training.engine.evals.trees import Path, Request, Tree, plant_trees

__all__ = ["TREE_TOKENS", "Likelihood", "Request", "plan_rows", "score_requests"]

TREE_TOKENS = 384  # fewer: the weights are read too often; more: attention, which costs N^2, outweighs that on a CPU
SUMMED_ROWS = 16


@dataclass(frozen=True)
class Likelihood:
    """Natural logarithm of the probability, and whether every token was the most probable one."""

    logprob: float
    is_greedy: bool


def score_requests(
    model: Any,
    requests: Sequence[Request],
    *,
    context_tokens: int,
    tree_tokens: int = TREE_TOKENS,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Likelihood]:
    """One likelihood per request, in their order. Longer than `context_tokens`: the oldest tokens are left out."""
    cut = [_shorten(request, context_tokens) for request in requests]
    found: list[Likelihood | None] = [None] * len(cut)
    done = 0
    for scored in _score_shared(model, cut, tree_tokens):
        for number, likelihood in scored:
            found[number] = likelihood
        done += len(scored)
        tell(done)
    return [likelihood for likelihood in found if likelihood is not None]


def _score_shared(model: Any, requests: Sequence[Request], tree_tokens: int) -> Iterator[list[tuple[int, Likelihood]]]:
    longest = max((len(request.read_tokens()) for request in requests), default=1)
    if find_packing(model.config, longest) == FUSED:
        yield from _score_trees(model, plant_trees(requests, tree_tokens))
    else:
        # A tree's mask would let a token see past a window, and a state knows no branches.
        yield from (_score_rows(model, requests, rows) for rows in plan_rows(requests, tree_tokens))


def plan_rows(requests: Sequence[Request], most_tokens: int) -> Iterator[list[int]]:
    """Numbers of requests of like length, at most `most_tokens` with their filling (a longer request stands alone)."""
    lengths = [len(request.read_tokens()) for request in requests]
    rows: list[int] = []
    for number in sorted(range(len(requests)), key=lambda i: (lengths[i], i)):
        if rows and (len(rows) + 1) * lengths[number] > most_tokens:
            yield rows
            rows = []
        rows.append(number)
    if rows:
        yield rows


@dataclass
class Stem:
    """What was computed of the first nodes of a tree: one (keys, values) a layer, and the outputs of the body [nodes, D]."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]
    hidden: torch.Tensor


def _score_trees(model: Any, trees: Iterator[Tree]) -> Iterator[list[tuple[int, Likelihood]]]:
    stem: Stem | None = None
    for tree, following in pairwise(chain(trees, [Tree()])):
        scored, stem = _score_tree(model, tree, stem, following.stem)
        yield scored


@torch.inference_mode()
def _score_tree(
    model: Any, tree: Tree, stem: Stem | None, kept: Sequence[int]
) -> tuple[list[tuple[int, Likelihood]], Stem | None]:
    """The scores of the tree, and of its nodes `kept` what the next tree begins with."""
    hidden, layers = _read(model, tree, stem)
    needed = sorted({node for _, path in tree.paths for node, _ in path})
    logits = apply_head(model, hidden[torch.tensor(needed, device=model.device)])
    scored = _rate(logits, {node: row for row, node in enumerate(needed)}, tree.paths)
    if not kept:
        return scored, None
    nodes = torch.tensor(kept, device=model.device)
    layers = [(keys.index_select(2, nodes), values.index_select(2, nodes)) for keys, values in layers]
    return scored, Stem(layers, hidden[nodes])


@torch.inference_mode()
def _score_rows(model: Any, requests: Sequence[Request], numbers: list[int]) -> list[tuple[int, Likelihood]]:
    """Each request in its own row. The filling stands to the right, where nothing looks."""
    read = [torch.tensor(requests[number].read_tokens()) for number in numbers]
    rows = pad_sequence(read, batch_first=True).to(model.device)
    hidden = get_body(model)(input_ids=rows, use_cache=False).last_hidden_state.flatten(0, 1)
    paths: list[tuple[int, Path]] = []
    for row, number in enumerate(numbers):
        first = row * rows.shape[1] + len(requests[number].context) - 1
        paths.append((number, list(enumerate(requests[number].continuation, start=first))))
    needed = [place for _, path in paths for place, _ in path]
    logits = apply_head(model, hidden[torch.tensor(needed, device=model.device)])
    return _rate(logits, {place: row for row, place in enumerate(needed)}, paths)


def _rate(logits: torch.Tensor, row_of: dict[int, int], paths: list[tuple[int, Path]]) -> list[tuple[int, Likelihood]]:
    """`logits` [R, V]; `row_of` says which of its rows a place of the paths is."""
    steps = [step for _, path in paths for step in path]
    rows = torch.tensor([row_of[place] for place, _ in steps], device=logits.device)
    targets = torch.tensor([token for _, token in steps], device=logits.device)
    logits = logits.float()
    # Not log_softmax, which writes [R, V] anew. One transfer for all: a .item() a token would wait for the device each time.
    values = (logits[rows, targets].double() - _sum_logits(logits).double()[rows]).tolist()
    if not all(map(math.isfinite, values)):
        raise EngineError("The model's probabilities are not numbers; its weights hold NaN.", code="not_finite")
    hits = (logits.argmax(dim=-1)[rows] == targets).tolist()
    rated, start = [], 0
    for number, path in paths:
        end = start + len(path)
        rated.append((number, Likelihood(math.fsum(values[start:end]), all(hits[start:end]))))
        start = end
    return rated


def _sum_logits(logits: torch.Tensor) -> torch.Tensor:
    """[R]: logarithms of the summed exponentials, a few rows at a time so that they stay in the processor's cache."""
    return torch.cat([part.logsumexp(dim=-1) for part in torch.split(logits, SUMMED_ROWS)])


def _read(model: Any, tree: Tree, stem: Stem | None) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """[nodes, D] of the whole tree, and its (keys, values) a layer; what the stem holds is not computed again."""
    from transformers import DynamicCache

    device, dtype, first = model.device, model.dtype, len(tree.stem)
    cache = (
        DynamicCache()
    )  # without the config: nothing here reaches past a window, and a tree is longer than its branches
    for layer, (keys, values) in enumerate(stem.layers if stem else []):
        cache.update(keys, values, layer)
    arguments: dict[str, Any] = {
        "input_ids": torch.tensor([tree.tokens[first:]], device=device),
        "position_ids": torch.tensor([tree.depths[first:]], device=device),
        "past_key_values": cache,
        "use_cache": True,
    }
    if not tree.is_line():
        seen = torch.from_numpy(tree.mask()).to(device)
        bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
        arguments["attention_mask"] = bias[None, None]
    hidden = get_body(model)(**arguments).last_hidden_state[0]
    read: list[Any] = list(cache.layers)  # plain ones all: FUSED models have no other
    layers = [(layer.keys, layer.values) for layer in read]
    return torch.cat([stem.hidden, hidden]) if stem else hidden, layers


def _shorten(request: Request, limit: int) -> Request:
    """At most `limit` tokens to read, of them at least one of context."""
    continuation = request.continuation[-limit:]
    return Request(request.context[-(limit + 1 - len(continuation)) :], continuation)
