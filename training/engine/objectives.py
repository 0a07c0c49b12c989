"""What a step is asked to learn: to say what the rows say, or to prefer the better of two answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from training.engine.batches import Batch, Batches
from training.engine.losses import compute_loss_sum
from training.engine.ranks import Ranks
from training.engine.samples import measure_held_out

Run = Callable[[Callable[[Any], Any]], Any]  # hands the model to a piece of work


class Objective(Protocol):
    @property
    def measured(self) -> tuple[str, ...]:
        """What a step tells beside its loss."""

    def count(self, step: int) -> int:
        """What the loss of a step is divided by, over all its passes and ranks."""

    def prepare(self, out: Path, run: Run, ranks: Ranks) -> None:
        """What has to be known of the model before anything is learnt."""

    def compute(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss, and `measured`, each summed over a batch."""

    def measure_held_out(self, run: Run) -> dict[str, float]:
        """ "held_out_loss" and whatever else held-out rows tell; {} without any."""

    def judge(self, run: Run) -> dict[str, Any]:
        """How the end compares with the start, where this objective knows a measure of its own."""


class Likelihood:
    """The next token of what people wrote."""

    measured: tuple[str, ...] = ()

    def __init__(self, batches: Batches, held_out: list[Batch], dtype: torch.dtype) -> None:
        self.batches, self.held_out, self.dtype = batches, held_out, dtype

    def count(self, step: int) -> int:
        return self.batches.count_learnt(step)

    def prepare(self, out: Path, run: Run, ranks: Ranks) -> None:
        pass

    def compute(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return compute_loss_sum(model, batch, dtype=self.dtype), torch.zeros(0, device=batch.tokens.device)

    def measure_held_out(self, run: Run) -> dict[str, float]:
        loss = run(lambda model: measure_held_out(model, self.held_out, dtype=self.dtype))
        return {} if loss is None else {"held_out_loss": loss}

    def judge(self, run: Run) -> dict[str, Any]:
        return {}
