"""Optimizers and the learning rate over time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch

from training.engine.config import Plan

MOMENTUM = 0.9
BETAS = {"pretrain": (0.9, 0.95), "full": (0.9, 0.999), "lora": (0.9, 0.999)}
COSINE_END = 0.1  # of the peak
LAYER_MATRIX = re.compile(r".*\.\d+\..*\.weight")  # the number is the layer's; embeddings and head have none


class Joined(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, as one: one list of groups, one memory."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        for part in parts:
            part.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for part in self.parts:
            part.step()


def make_optimizer(named: Iterable[tuple[str, torch.nn.Parameter]], plan: Plan) -> torch.optim.Optimizer:
    """The optimizer of a plan. Muon turns the matrices inside the layers, its steps as long as AdamW's would be, so that
    one learning rate serves both; the rest is AdamW's. Source: https://arxiv.org/abs/2502.16982"""
    if plan.optimizer != "muon":
        return _make_plain([p for _, p in named], plan)
    named = list(named)
    hidden = [p for name, p in named if p.ndim == 2 and LAYER_MATRIX.fullmatch(name)]
    others = [p for name, p in named if not (p.ndim == 2 and LAYER_MATRIX.fullmatch(name))]
    parts: list[torch.optim.Optimizer] = []
    if hidden:
        parts.append(
            torch.optim.Muon(
                hidden, lr=plan.learning_rate, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        )
    if others:
        parts.append(_make_plain(others, plan))
    return Joined(parts)


def _make_plain(parameters: list[torch.nn.Parameter], plan: Plan) -> torch.optim.Optimizer:
    """Weight decay touches matrices only; norms and biases stay free."""
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    fused = True  # one pass over memory, on CUDA and CPU alike
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=MOMENTUM)
    if plan.optimizer == "adam":
        return torch.optim.Adam(groups, lr=plan.learning_rate, betas=BETAS[plan.method], fused=fused)
    assert plan.optimizer in ("adamw", "muon"), plan.optimizer
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=BETAS[plan.method], fused=fused)


def rate_at(plan: Plan, step: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then the schedule down to the last step."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "constant":
        return plan.learning_rate
    if plan.schedule == "wsd":
        return plan.learning_rate * min(1.0, (plan.steps - step) / (plan.decay_steps + 1))
    if plan.schedule == "linear":
        return plan.learning_rate * (1 - done)
    return plan.learning_rate * (COSINE_END + (1 - COSINE_END) * 0.5 * (1 + math.cos(math.pi * done)))
