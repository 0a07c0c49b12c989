"""The processes of one run: one alone, or as many as torchrun starts, here called ranks.

Every rank learns from its share of each step's rows. What is written to OUT or said is the first one's to write and say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from training.engine.errors import EngineError

T = TypeVar("T")
# Others wait while the first one prepares the corpus. A rank that died is noticed by torchrun at once, not by this.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    count: int = 1
    device: str = "cpu"  # where the numbers lie that ranks exchange
    count_here: int = 1  # on this machine

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.count == 1

    def add(self, *values: float) -> list[float]:
        """Each value, summed over the ranks. Every rank must ask, with as many values."""
        if self.is_alone:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(summed)
        return [float(value) for value in summed]

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the CPU, summed over the ranks; each must ask, with one of the same size."""
        if self.is_alone:
            return tensor
        summed = tensor.to(self.device)
        distributed.all_reduce(summed)
        return summed.cpu()

    def agree(self, *flags: bool) -> list[bool]:
        """For each flag whether any rank raised it. Clocks and signals differ between ranks; what they do must not."""
        return [value > 0 for value in self.add(*(float(flag) for flag in flags))]

    def take_turns(self, work: Callable[[], T]) -> T:
        """`work` by the first rank, then by the others, who find on the disk what it left there.

        Where the first one's work is refused, it alone says so and the others end with it."""
        if not self.is_first:
            (refused,) = self.agree(False)
            if refused:
                raise SystemExit(2)
            return work()
        try:
            result = work()
        except EngineError:
            self.agree(True)
            raise
        self.agree(False)
        return result


ALONE = Ranks()


@contextmanager
def join(device: torch.device) -> Iterator[Ranks]:
    """The ranks that torchrun started, this one among them; ALONE without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))
        yield Ranks(distributed.get_rank(), count, device.type, here)
    finally:
        distributed.destroy_process_group()
