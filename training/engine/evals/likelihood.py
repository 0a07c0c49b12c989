"""Log-likelihoods of continuations, each shared beginning computed once.

Requests become a tree of tokens: choices of one question are branches of the same stem. The tree is laid out as one row
in which a token sees its ancestors only, so one forward pass scores every branch, without padding and without a cache.
How many branches share a pass changes no score (within rounding), because no token sees another branch.
A model that does not attend plainly (architectures.py) reads each request in a row of its own instead.

Legend: N tokens of a tree, V vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from training.engine.architectures import FUSED, find_packing
from training.engine.documents import apply_head, get_body
from training.engine.errors import EngineError

Path = list[tuple[int, int]]  # per token of a continuation: where it is predicted, the token

TREE_TOKENS = 512  # attention costs N^2: beyond this the mask costs more than the sharing saves on CPU


@dataclass(frozen=True)
class Request:
    """Score `continuation` after `context` (token ids; the context is not empty)."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def read_tokens(self) -> tuple[int, ...]:
        """What the model has to read: the last token is only predicted."""
        return self.context + self.continuation[:-1]


@dataclass(frozen=True)
class Likelihood:
    """Natural logarithm of the probability, and whether every token was the most probable one."""

    logprob: float
    is_greedy: bool


@dataclass
class Tree:
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1 for a root
    depths: list[int] = field(default_factory=list)
    children: dict[tuple[int, int], int] = field(default_factory=dict)  # (parent, token) -> node
    paths: list[tuple[int, Path]] = field(default_factory=list)  # by the number of the request; places are nodes

    def count_new(self, tokens: Sequence[int]) -> int:
        node = -1
        for seen, token in enumerate(tokens):
            child = self.children.get((node, token))
            if child is None:
                return len(tokens) - seen
            node = child
        return 0

    def add(self, number: int, request: Request) -> None:
        node, nodes = -1, []
        for depth, token in enumerate(request.read_tokens()):
            node = self._step(node, token, depth)
            nodes.append(node)
        predicted_at = nodes[len(request.context) - 1 :]
        self.paths.append((number, list(zip(predicted_at, request.continuation, strict=True))))

    def _step(self, node: int, token: int, depth: int) -> int:
        if (node, token) not in self.children:
            self.children[node, token] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(node)
            self.depths.append(depth)
        return self.children[node, token]

    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[N, N]: may the token of the row see the token of the column?"""
        seen = np.zeros((len(self.tokens), len(self.tokens)), dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


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
        yield from (_score_tree(model, tree) for tree in plant_trees(requests, tree_tokens))
    else:
        # A tree's mask would let a token see past a window, and a state knows no branches.
        yield from (_score_rows(model, requests, rows) for rows in plan_rows(requests, tree_tokens))


def plant_trees(requests: Sequence[Request], tree_tokens: int) -> Iterator[Tree]:
    """Trees of at most `tree_tokens` tokens (a longer request has its own). Sorted, so that beginnings meet."""
    order = sorted(range(len(requests)), key=lambda i: requests[i].read_tokens())
    tree = Tree()
    for number in order:
        request = requests[number]
        new = tree.count_new(request.read_tokens())
        if tree.paths and len(tree.tokens) + new > tree_tokens:
            yield tree
            tree = Tree()
        tree.add(number, request)
    if tree.paths:
        yield tree


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


@torch.inference_mode()
def _score_tree(model: Any, tree: Tree) -> list[tuple[int, Likelihood]]:
    needed = sorted({node for _, path in tree.paths for node, _ in path})
    return _rate(_forward(model, tree, needed), {node: row for row, node in enumerate(needed)}, tree.paths)


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
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    rows = torch.tensor([row_of[place] for place, _ in steps], device=logits.device)
    targets = torch.tensor([token for _, token in steps], device=logits.device)
    # One transfer for all: a .item() a token would wait for the device each time.
    values = logprobs[rows, targets].double().tolist()
    if not all(map(math.isfinite, values)):
        raise EngineError("The model's probabilities are not numbers; its weights hold NaN.", code="not_finite")
    hits = (logits.argmax(dim=-1)[rows] == targets).tolist()
    rated, start = [], 0
    for number, path in paths:
        end = start + len(path)
        rated.append((number, Likelihood(math.fsum(values[start:end]), all(hits[start:end]))))
        start = end
    return rated


def _forward(model: Any, tree: Tree, rows: list[int]) -> torch.Tensor:
    """Logits [len(rows), V] after the tokens `rows` of the tree."""
    device, dtype = model.device, model.dtype
    arguments: dict[str, Any] = {
        "input_ids": torch.tensor([tree.tokens], device=device),
        "position_ids": torch.tensor([tree.depths], device=device),
        "logits_to_keep": torch.tensor(rows, device=device),
        "use_cache": False,
    }
    if any(parent != node - 1 for node, parent in enumerate(tree.parents)):
        seen = torch.from_numpy(tree.mask()).to(device)
        bias = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
        arguments["attention_mask"] = bias[None, None]
    logits = model(**arguments).logits[0]
    assert isinstance(logits, torch.Tensor) and logits.shape[0] == len(rows)
    return logits


def _shorten(request: Request, limit: int) -> Request:
    """At most `limit` tokens to read, of them at least one of context."""
    continuation = request.continuation[-limit:]
    return Request(request.context[-(limit + 1 - len(continuation)) :], continuation)
