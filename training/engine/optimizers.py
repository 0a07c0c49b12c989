"""Optimizers and the learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from training.engine.config import Plan

MOMENTUM = 0.9
BETAS = {"pretrain": (0.9, 0.95), "full": (0.9, 0.999), "lora": (0.9, 0.999)}
COSINE_END = 0.1  # of the peak


def make_optimizer(named: Iterable[tuple[str, torch.nn.Parameter]], plan: Plan) -> torch.optim.Optimizer:
    """Weight decay touches matrices only; norms and biases stay free."""
    parameters = [p for _, p in named]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    fused = plan.device == "cuda"
    if plan.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=MOMENTUM)
    if plan.optimizer == "adam":
        return torch.optim.Adam(groups, lr=plan.learning_rate, betas=BETAS[plan.method], fused=fused)
    assert plan.optimizer == "adamw", plan.optimizer
    return torch.optim.AdamW(groups, lr=plan.learning_rate, betas=BETAS[plan.method], fused=fused)


def rate_at(plan: Plan, step: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then the schedule down to the last step."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    done = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    if plan.schedule == "constant":
        return plan.learning_rate
    if plan.schedule == "linear":
        return plan.learning_rate * (1 - done)
    return plan.learning_rate * (COSINE_END + (1 - COSINE_END) * 0.5 * (1 + math.cos(math.pi * done)))
