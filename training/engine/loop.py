"""The training loop: read rows, learn, tell what happens, and be able to stop at any moment.

The order is chosen so that a kill -9 anywhere loses at most the steps since the last checkpoint, and so that going on
from it gives the same bits as never having stopped."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine.batches import Batch, Batches
from training.engine.checkpoint import Progress, cut_metrics, load_checkpoint, save_checkpoint
from training.engine.compiling import compile_layers, keep_compiled
from training.engine.config import Plan
from training.engine.devices import autocast
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.losses import compute_loss_sum
from training.engine.objectives import Likelihood, Objective
from training.engine.optimizers import make_optimizer, rate_at
from training.engine.quicken import quicken
from training.engine.ranks import ALONE, Ranks
from training.engine.recompute import recompute
from training.engine.samples import answer_greedily
from training.engine.sharding import get_full, share_out

CHECKPOINT_EVERY_S = float(os.environ.get("ENGINE_CHECKPOINT_S", "30"))
MAX_CHECKPOINT_SHARE = 0.05  # of the time; large models save more rarely
SAY_EVERY_S = 0.25  # metrics events; metrics.jsonl gets every step
LOSSES_KEPT = 20
DIVERGED_RISE = 2.0  # nats above the first loss, as the mean of the last 20 steps
SIGTERM_EXIT = 128 + signal.SIGTERM  # 143, as a shell reports it


class Stopped(Exception):
    """A signal asked the run to end; a checkpoint was written."""


@dataclass
class StopRequest:
    """Set by SIGTERM or SIGINT. While `is_deferred` the loop asks for it itself; otherwise the process ends at once."""

    is_asked: bool = False
    is_deferred: bool = False

    def __call__(self, signum: int, _: Any) -> None:
        self.is_asked = True
        if not self.is_deferred:
            raise SystemExit(128 + signum)


@dataclass(frozen=True)
class Samples:
    prompts: list[dict[str, Any]]  # {"prompt", "ids"}
    held_out: list[Batch]
    end_tokens: set[int]
    tokenizer: Any


class Loop:
    def __init__(
        self,
        *,
        model: Any,
        batches: Batches,
        plan: Plan,
        out: Path,
        device: torch.device,
        samples: Samples,
        stop: StopRequest,
        ranks: Ranks = ALONE,
        objective: Objective | None = None,
    ) -> None:
        self.model, self.batches, self.plan, self.out, self.device = model, batches, plan, out, device
        self.samples, self.stop, self.ranks = samples, stop, ranks
        self.whole = share_out(model, ranks)
        self.dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
        self.objective: Objective = objective or Likelihood(batches, samples.held_out, self.dtype)
        # remove_duplicate keeps tied weights once: they are one parameter.
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = make_optimizer(self.parameters.items(), plan)
        self.progress = Progress()
        self.recent: deque[tuple[float, int]] = deque(maxlen=10)  # (seconds, positions) of the last steps
        self.saved_at, self.save_cost_s, self.said_at = time.monotonic(), 0.0, 0.0

    def run(self, *, stop_after_step: int | None = None) -> Progress:
        """Train to the last step; Stopped after a signal or after `stop_after_step`. Ends with a checkpoint."""
        if self.plan.compile == "on":
            keep_compiled(self.out / "compiled")
        try:
            with (
                compile_layers(self.model, is_wanted=self.plan.compile == "on", try_out=self._try_out) as is_compiled,
                self._quickened(is_wanted=not is_compiled),
                recompute(self.model, self.plan.recomputed_layers),
            ):
                with self._evaluating():  # without dropout: a reference is the model, not a draw of it
                    self.objective.prepare(self.out, self.whole, self.ranks)
                self._resume()
                self.stop.is_deferred = True
                self._take_steps(stop_after_step)
        finally:
            self.stop.is_deferred = False
        return self.progress

    def _quickened(self, *, is_wanted: bool = True) -> AbstractContextManager[None]:
        is_fp32_on_cpu = self.device.type == "cpu" and self.dtype == torch.float32 and self.ranks.is_alone
        rounds = self.plan.precision == "bf16_products"
        return quicken(self.model, is_fp32_on_cpu=is_wanted and is_fp32_on_cpu, rounds=rounds)

    def _try_out(self) -> None:
        """A pass of which nothing stays."""
        batch = self.batches.build(self.batches.rows_of(0)[:1], self.device)
        try:
            # Activations made again here too: where a step fits only so, this must.
            with recompute(self.model, self.plan.recomputed_layers), autocast(self.device, self.plan.precision):
                # Of the words alone: what a choice is compared with is measured later.
                loss: torch.Tensor = self.whole(lambda model: compute_loss_sum(model, batch, dtype=self.dtype))
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    def _take_steps(self, stop_after_step: int | None) -> None:
        if self.progress.step == 0:
            self._look(0)
        while self.progress.step < self.plan.steps:
            self._take_step()
            step = self.progress.step
            stops, saves = self.ranks.agree(
                self.stop.is_asked or step == stop_after_step, self._is_save_due() or step == self.plan.steps
            )
            if stops or saves:
                self._save()
            if step < self.plan.steps and stops:
                raise Stopped(f"stopped after step {step}")
            if step % self.plan.sample_every_steps == 0 or step == self.plan.steps:
                self._look(step)

    def _resume(self) -> None:
        found = load_checkpoint(
            self.out / "checkpoints",
            parameters=self.parameters,
            optimizer=self.optimizer,
            device=self.device,
            ranks=self.ranks,
        )
        if found:
            self.progress = found
            emit("stage", stage="train", state="resumed", step=found.step, steps=self.plan.steps)
        if self.ranks.is_first:
            cut_metrics(self.out / "metrics.jsonl", step=self.progress.step)

    def _take_step(self) -> None:
        began = time.monotonic()
        rate = rate_at(self.plan, self.progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, positions, measured = self._accumulate(self.progress.step)
        norm = self._clip(loss)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began
        self._remember(loss, positions, seconds)
        self._tell(loss=loss, rate=rate, norm=norm, measured=measured)
        self._check_divergence()

    def _accumulate(self, step: int) -> tuple[float, int, dict[str, float]]:
        """Gradients of the mean loss over all that is learnt in the step: tokens, or pairs. Returns that loss, the
        positions read and what else was measured."""
        learnt = self.objective.count(step)
        total = torch.zeros((), device=self.device)
        measured = torch.zeros(len(self.objective.measured), device=self.device)
        positions = 0
        for rows in self.batches.passes_of(step, self.ranks):
            if self.stop.is_asked and self.ranks.is_alone:
                self._abandon()
            batch = self.batches.build(rows, self.device) if rows else self.batches.build_idle(step, self.device)
            with autocast(self.device, self.plan.precision):
                loss, others = self._compute_loss(batch)
                loss = loss / learnt
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            measured += others / learnt
            positions += sum(batch.lengths) if rows else 0
        summed, read, *means = self.ranks.add(float(total), positions, *measured.tolist())
        return summed, int(read), dict(zip(self.objective.measured, means, strict=True))

    def _compute_loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        computed: tuple[torch.Tensor, torch.Tensor] = self.whole(lambda model: self.objective.compute(model, batch))
        return computed

    def _abandon(self) -> None:
        """In the middle of a step nothing has changed yet: drop its gradients and keep the state before it."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.progress.step:
            self._save()
        raise Stopped(f"stopped after step {self.progress.step}")

    def _clip(self, loss: float) -> float:
        norm = float(get_full(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.plan.clip_norm)))
        if not math.isfinite(loss) or not math.isfinite(norm):
            # Before the optimizer: the weights of the last checkpoint stay good.
            raise EngineError(
                f"The loss became {loss} at step {self.progress.step + 1} (learning rate {self.plan.learning_rate:g}); "
                "use a smaller learning_rate or a longer warmup_steps",
                code="diverged",
            )
        return norm

    def _remember(self, loss: float, positions: int, seconds: float) -> None:
        now = self.progress
        now.step += 1
        now.tokens += positions
        now.seconds += seconds
        now.losses = [*now.losses, loss][-LOSSES_KEPT:]
        now.first_loss = loss if now.first_loss is None else now.first_loss
        self.recent.append((seconds, positions))

    def _tell(self, *, loss: float, rate: float, norm: float, measured: dict[str, float]) -> None:
        seconds = sum(s for s, _ in self.recent)
        speed = sum(n for _, n in self.recent) / max(seconds, 1e-9)
        remaining = (self.plan.steps - self.progress.step) * seconds / len(self.recent)
        record: dict[str, Any] = {
            "step": self.progress.step,
            "steps": self.plan.steps,
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens_per_s": round(speed, 1),
            "eta_s": round(remaining, 1),
            **measured,
        }
        if self.ranks.is_first:
            with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        if time.monotonic() - self.said_at >= SAY_EVERY_S or self.progress.step == self.plan.steps:
            self.said_at = time.monotonic()
            emit("metrics", **record)

    def _check_divergence(self) -> None:
        losses, first = self.progress.losses, self.progress.first_loss
        assert first is not None
        mean = sum(losses) / len(losses)
        if len(losses) == LOSSES_KEPT and mean > first + DIVERGED_RISE:
            raise EngineError(
                f"The loss rose from {first:.2f} to {mean:.2f} by step {self.progress.step} (learning rate "
                f"{self.plan.learning_rate:g}); use a smaller learning_rate or a longer warmup_steps",
                code="diverged",
            )

    def _is_save_due(self) -> bool:
        since = time.monotonic() - self.saved_at
        return since >= max(CHECKPOINT_EVERY_S, self.save_cost_s / MAX_CHECKPOINT_SHARE)

    def _save(self) -> None:
        began = time.monotonic()
        save_checkpoint(
            self.out / "checkpoints",
            parameters=self.parameters,
            optimizer=self.optimizer,
            progress=self.progress,
            device=self.device,
            ranks=self.ranks,
        )
        self.saved_at = time.monotonic()
        self.save_cost_s = self.saved_at - began
        emit("progress", stage="train", saved_step=self.progress.step, seconds=round(self.save_cost_s, 2))

    def _look(self, step: int) -> None:
        """Samples and held-out loss. Reads no random numbers and changes no weights, so it cannot change the run."""
        held_out = self._measure_held_out()
        with self._evaluating():
            if step == 0:
                self.progress.held_out_start = held_out.get("held_out_loss")
            if held_out:
                told: dict[str, Any] = {name: round(value, 4) for name, value in held_out.items()}
                emit("progress", stage="train", step=step, **told)
            for prompt in self.samples.prompts:
                if self.stop.is_asked and self.ranks.is_alone:
                    return
                said = self._answer(prompt["ids"])
                text = self.samples.tokenizer.decode(said, skip_special_tokens=True)
                emit("sample", step=step, prompt=prompt["prompt"], text=text)

    def _measure_held_out(self) -> dict[str, float]:
        with self._evaluating():
            return self.objective.measure_held_out(self.whole)

    def measure_held_out(self) -> dict[str, float]:
        """After the run, by the same arithmetic: what is compared with the start was measured so."""
        with self._quickened():
            return self._measure_held_out()

    def judge(self) -> dict[str, Any]:
        """After the run, too."""
        with self._quickened(), self._evaluating():
            return self.objective.judge(self.whole)

    def _answer(self, ids: list[int]) -> list[int]:
        ends = self.samples.end_tokens
        said: list[int] = self.whole(lambda model: answer_greedily(model, ids, end_tokens=ends))
        return said

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        self.model.eval()
        try:
            with autocast(self.device, self.plan.precision):
                yield
        finally:
            self.model.train()
