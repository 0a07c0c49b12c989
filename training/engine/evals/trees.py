"""Requests as trees of tokens: choices of one question are branches of the same stem, and are read once.

A tree holds what one forward pass reads. Beginnings go on from tree to tree: the solved examples before a hundred questions
stand in the first one, and the next ones find them in the cache (`stem`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Path = list[tuple[int, int]]  # per token of a continuation: where it is predicted, the token

MIN_STEM = 16  # a shorter beginning costs more to keep than to read again


@dataclass(frozen=True)
class Request:
    """Score `continuation` after `context` (token ids; the context is not empty)."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    def read_tokens(self) -> tuple[int, ...]:
        """What the model has to read: the last token is only predicted."""
        return self.context + self.continuation[:-1]


@dataclass
class Tree:
    """Nodes are numbered in the order in which the model reads them; the first ones are the stem."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)  # -1 for a root
    depths: list[int] = field(default_factory=list)
    children: dict[tuple[int, int], int] = field(default_factory=dict)  # (parent, token) -> node
    paths: list[tuple[int, Path]] = field(default_factory=list)  # by the number of the request; places are nodes
    stem: list[int] = field(default_factory=list)  # the nodes of the tree before that are this tree's first ones
    last: list[int] = field(default_factory=list)  # nodes of the request that was added last

    def count_new(self, tokens: Sequence[int]) -> int:
        node = -1
        for seen, token in enumerate(tokens):
            child = self.children.get((node, token))
            if child is None:
                return len(tokens) - seen
            node = child
        return 0

    def count_read(self) -> int:
        """Tokens that the pass over this tree reads."""
        return len(self.tokens) - len(self.stem)

    def add(self, number: int, request: Request) -> None:
        self.last = self._walk(request.read_tokens())
        predicted_at = self.last[len(request.context) - 1 :]
        self.paths.append((number, list(zip(predicted_at, request.continuation, strict=True))))

    def go_on(self, tokens: Sequence[int]) -> Tree:
        """An empty tree whose stem is what `tokens` has in common with the request that was added last."""
        common = 0
        for node, token in zip(self.last, tokens, strict=False):
            if self.tokens[node] != token:
                break
            common += 1
        following = Tree(stem=self.last[:common] if common >= MIN_STEM else [])
        following._walk(tokens[: len(following.stem)])
        return following

    def _walk(self, tokens: Sequence[int]) -> list[int]:
        node, nodes = -1, []
        for depth, token in enumerate(tokens):
            node = self._step(node, token, depth)
            nodes.append(node)
        return nodes

    def _step(self, node: int, token: int, depth: int) -> int:
        if (node, token) not in self.children:
            self.children[node, token] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(node)
            self.depths.append(depth)
        return self.children[node, token]

    def is_line(self) -> bool:
        """Whether plain causal attention says what a token may see."""
        return not self.stem and all(parent == node - 1 for node, parent in enumerate(self.parents))

    def mask(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[tokens read, all tokens]: may the token of the row see the token of the column?"""
        first = len(self.stem)
        seen = np.zeros((self.count_read(), len(self.tokens)), dtype=np.bool_)
        for node in range(first, len(self.tokens)):
            row, parent = seen[node - first], self.parents[node]
            if parent >= first:
                row[:] = seen[parent - first]
            else:
                row[: parent + 1] = True  # of the stem
            row[node] = True
        return seen


def plant_trees(requests: Sequence[Request], tree_tokens: int) -> Iterator[Tree]:
    """Trees that read at most `tree_tokens` tokens (a longer request has its own). Sorted, so that beginnings meet."""
    order = sorted(range(len(requests)), key=lambda i: requests[i].read_tokens())
    tree = Tree()
    for number in order:
        request = requests[number]
        tokens = request.read_tokens()
        new = tree.count_new(tokens)
        if tree.paths and new and tree.count_read() + new > tree_tokens:
            yield tree
            tree = tree.go_on(tokens)
        tree.add(number, request)
    if tree.paths:
        yield tree
