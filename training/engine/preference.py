"""Learning which of two answers is better: DPO, and SimPO where no reference is wanted.

    DPO     -log sigmoid(beta ((log p(better) - log p_start(better)) - (log p(worse) - log p_start(worse))))
    SimPO   -log sigmoid(beta (log p(better) / |better| - log p(worse) / |worse|) - target_margin)

p_start is the model before its first step. Its log-likelihoods are computed once and kept in OUT/reference.safetensors, so
no second model is ever in memory, and a run that goes on reads the same numbers again. SimPO is the method without a
reference because it needs exactly what DPO does but the reference; ORPO (https://arxiv.org/abs/2403.07691) adds a second
loss that is divided by tokens, where these are divided by pairs.
Sources: https://arxiv.org/abs/2305.18290 (DPO), https://arxiv.org/abs/2405.14734 (SimPO).

Legend: S documents of a batch, P pairs of it; documents 2k and 2k + 1 are the better and the worse answer of a pair."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.functional import softplus

from training.engine.batches import IGNORED, Batch, Batches, make_batch
from training.engine.config import Plan
from training.engine.corpus import Corpus
from training.engine.devices import autocast
from training.engine.evals.statistics import Estimate, share_difference, wilson
from training.engine.events import emit
from training.engine.losses import compute_log_likelihoods
from training.engine.objectives import Run
from training.engine.ranks import Ranks

LEAST_MEASURED = 24  # pairs; what a short trial measures itself by
MEASURED_SHARE = 0.2  # of the pairs that a run reads: the measure shall not take longer than the run
MEASURED = ("reward_chosen", "reward_rejected", "reward_margin", "reward_accuracy")  # of a step, means over its pairs


class Preference:
    """What a step of such a run learns and tells."""

    measured = MEASURED

    def __init__(self, plan: Plan, corpus: Corpus, batches: Batches, device: torch.device, dtype: torch.dtype) -> None:
        self.plan, self.batches, self.device, self.dtype = plan, batches, device, dtype
        self.rows = sorted({row for step in range(plan.steps) for row in batches.rows_of(step)})
        read = sum(batches.count_pairs(step) for step in range(plan.steps))
        most = max(LEAST_MEASURED, round(MEASURED_SHARE * read))
        self.held_out, self.left_out = make_held_out_pairs(
            corpus, context_tokens=plan.context_tokens, most=most, device=device
        )
        self.documents = len(corpus.offsets) - 1
        self.reference: dict[str, torch.Tensor] = {}  # "train" fp32 [documents], "held_out" fp32 [2 pairs]

    def count(self, step: int) -> int:
        return self.batches.count_pairs(step)

    def prepare(self, out: Path, run: Run, ranks: Ranks) -> None:
        """Read the log-likelihoods of the start, or compute them. To be called before anything is learnt or resumed."""
        path = out / "reference.safetensors"
        found = read_reference(path, self._list_sizes())
        (is_missing,) = ranks.agree(found is None)
        if is_missing:
            emit("stage", stage="reference", state="started", pairs=self.documents // 2, held_out=len(self.held_out))
            began = time.monotonic()
            with torch.no_grad(), autocast(self.device, self.plan.precision):
                found = {"held_out": self._read_held_out(run).cpu()}
                if self.plan.objective == "dpo":
                    found["train"] = self._read_train(run, ranks)
            if ranks.is_first:
                draft = path.with_suffix(".draft")
                save_file(found, draft)
                draft.replace(path)
            emit("stage", stage="reference", state="done", seconds=round(time.monotonic() - began, 2))
        assert found is not None
        self.reference = {name: tensor.to(self.device) for name, tensor in found.items()}

    def _list_sizes(self) -> dict[str, int]:
        return {"held_out": 2 * len(self.held_out)} | (
            {"train": self.documents} if self.plan.objective == "dpo" else {}
        )

    def _read_train(self, run: Run, ranks: Ranks) -> torch.Tensor:
        """fp32 [documents]; 0 for those that this run never reads."""
        rows, count = self.rows, self.plan.rows_per_pass
        own, most = rows[ranks.rank :: ranks.count], math.ceil(len(rows) / ranks.count)
        found = torch.zeros(self.documents, dtype=torch.float32)
        due = time.monotonic() + 1
        for start in range(0, most, count):
            part = own[start : start + count]
            batch = self.batches.build(part or rows[:1], self.device)  # ranks read together, a row more where rows end
            read = run(lambda model, batch=batch: compute_log_likelihoods(model, batch, dtype=self.dtype))  # type: ignore[misc]
            if part:
                found[list(batch.documents)] = read.float().cpu()
            if time.monotonic() >= due:
                emit("progress", stage="reference", done=start, total=most)
                due = time.monotonic() + 1
        return ranks.add_up(found)

    def _read_held_out(self, run: Run) -> torch.Tensor:
        """fp32 [2 pairs]. Every rank reads all."""
        if not self.held_out:
            return torch.zeros(0)

        def read(model: Any) -> torch.Tensor:
            return torch.cat([compute_log_likelihoods(model, batch, dtype=self.dtype) for batch in self.held_out])

        found: torch.Tensor = run(read)
        return found.float()

    def compute(self, model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss and MEASURED, each summed over the pairs of a batch. A pair that teaches nothing counts as none."""
        likelihoods_S = compute_log_likelihoods(model, batch, dtype=self.dtype)
        counts_S = count_learnt(batch)
        reference_S = self.reference["train"][list(batch.documents)] if "train" in self.reference else None
        losses_P, rewards_P2 = score_pairs(likelihoods_S, reference_S, counts_S, self.plan)
        real_P = counts_S.view(-1, 2).amin(1) > 0
        better_P, worse_P = rewards_P2.detach()[real_P].unbind(1)
        right = count_wins(better_P, worse_P)
        measured = torch.stack([better_P.sum(), worse_P.sum(), (better_P - worse_P).sum(), right.sum()])
        return (losses_P * real_P).sum(), measured

    @torch.no_grad()
    def measure_held_out(self, run: Run) -> dict[str, float]:
        """Mean loss of the held-out pairs, and in how many the better answer is the likelier one; {} without any."""
        if not self.held_out:
            return {}
        likelihoods = self._read_held_out(run)
        counts = torch.cat([count_learnt(batch) for batch in self.held_out])
        losses, rewards = score_pairs(likelihoods, self.reference["held_out"], counts, self.plan)
        return {
            "held_out_loss": float(losses.mean()),
            "held_out_accuracy": float(rank_pairs(likelihoods, counts).mean()),
            "held_out_reward_accuracy": float(count_wins(rewards[:, 0], rewards[:, 1]).mean()),
        }

    @torch.no_grad()
    def judge(self, run: Run) -> dict[str, Any]:
        """How often the better of two held-out answers is the likelier one, beside the parent; with 95% intervals."""
        if not self.held_out:
            return {}
        counts = torch.cat([count_learnt(batch) for batch in self.held_out])
        now = rank_pairs(self._read_held_out(run), counts)
        before = rank_pairs(self.reference["held_out"], counts)
        difference, _ = share_difference(now - before)
        return {
            "pairs": len(now),
            "left_out": self.left_out,
            "accuracy": describe(wilson(float(now.mean()), len(now))),
            "parent_accuracy": describe(wilson(float(before.mean()), len(before))),
            "difference": describe(difference),
        }


def score_pairs(
    likelihoods_S: torch.Tensor, reference_S: torch.Tensor | None, counts_S: torch.Tensor, plan: Plan
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss [P] and rewards [P, 2] of the better and the worse answers."""
    if plan.objective == "dpo":
        assert reference_S is not None
        rewards_P2 = plan.beta * (likelihoods_S - reference_S).view(-1, 2)
        return softplus(-(rewards_P2[:, 0] - rewards_P2[:, 1])), rewards_P2
    rewards_P2 = plan.beta * (likelihoods_S / counts_S.clamp(min=1)).view(-1, 2)
    return softplus(-(rewards_P2[:, 0] - rewards_P2[:, 1] - plan.target_margin)), rewards_P2


def rank_pairs(likelihoods_S: torch.Tensor, counts_S: torch.Tensor) -> Any:
    """float64 [P]: 1 where the better answer is likelier a token than the worse one, 0.5 where they are alike.

    By the token, for by the sum a short answer beats nearly every long one."""
    better, worse = (likelihoods_S.double() / counts_S).view(-1, 2).unbind(1)
    return count_wins(better, worse).cpu().numpy()


def count_wins(better_P: torch.Tensor, worse_P: torch.Tensor) -> torch.Tensor:
    """1 where the better one is ahead, 0.5 where they are alike: before the first step every DPO reward is 0."""
    return (torch.sign(better_P - worse_P) + 1) / 2


def count_learnt(batch: Batch) -> torch.Tensor:
    """int64 [S] on the batch's device."""
    learnt = (batch.targets != IGNORED).cpu()
    counts = [int(part.sum()) for part in torch.split(learnt, list(batch.lengths))]
    return torch.tensor(counts, device=batch.targets.device)


def make_held_out_pairs(
    corpus: Corpus, *, context_tokens: int, most: int, device: torch.device
) -> tuple[list[Batch], int]:
    """A batch for each of the first `most` pairs that were held out, and how many are too long to be read whole."""
    batches: list[Batch] = []
    left_out = 0
    for row in corpus.read_held_out():
        if len(batches) == most:
            break
        tokens, targets = [], []
        for prefix in ("", "rejected_"):
            ids = np.array(row[f"{prefix}token_ids"], dtype=np.int64)
            learnt = np.array(row[f"{prefix}learnt"], dtype=bool)
            tokens.append(ids[:-1])
            targets.append(np.where(learnt[1:], ids[1:], IGNORED))
        if max(len(ids) for ids in tokens) > context_tokens:
            left_out += 1
        else:
            batches.append(make_batch(tokens, targets, device))
    return batches, left_out


def read_reference(path: Path, sizes: dict[str, int]) -> dict[str, torch.Tensor] | None:
    """What was computed before; None where it is missing, damaged or of other rows."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError):
        return None
    return found if {name: len(tensor) for name, tensor in found.items()} == sizes else None


def describe(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
