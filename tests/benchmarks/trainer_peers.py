"""One training of one variant in a process of its own: the trainer of transformers in the ways people use it, and the
engine's own loop. Each reports seconds, peak memory and the last loss."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.trainer_work import Size, count_operations, list_packed, list_padded, make_corpus
from training.engine import attention, devices, hf_format, lora
from training.engine.batches import IGNORED, Batches
from training.engine.config import Facts, Plan, finish_plan, make_plan
from training.engine.footprint import read_sizes
from training.engine.loop import Loop, Samples, StopRequest
from training.engine.optimizers import rate_at
from training.engine.recipe import parse_recipe

OURS = "ours"
# Variant -> what differs from the trainer as it is. "rows": samples stand alone, or several in a row.
PEERS: dict[str, dict[str, Any]] = {
    "padded": {},
    "padded, checkpointing": {"activation_checkpointing": True},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
    "packed, sdpa": {"rows": "packed"},
    "packed, flex_attention": {"rows": "packed", "attention": "flex_attention"},
    "packed, Liger": {"rows": "packed", "use_liger_kernel": True},
    "packed, compiled": {"rows": "packed", "torch_compile": True},
}


@dataclass(frozen=True)
class Work:
    method: str  # lora | full | pretrain
    size: Size
    device: str
    samples: list[NDArray[np.int64]]
    seed: int
    precision: str = "fp32"  # fp32 | bf16, of all; on a CPU the engine's bf16 is that of its products alone

    @property
    def positions(self) -> int:
        return sum(len(s) - 1 for s in self.samples)


@dataclass(frozen=True)
class Measured:
    """`problem` says why there are no figures."""

    seconds: float = 0.0
    peak_gib: float = 0.0
    loss: float = 0.0
    operations: float = 0.0  # of a token
    problem: str = ""


def measure(variant: str, work: Work) -> Measured:
    """In a fork, so that each has the memory of a fresh process and none the caches of another."""
    forking = multiprocessing.get_context("fork")
    receiver, sender = forking.Pipe(duplex=False)
    process = forking.Process(target=_answer, args=(variant, work, sender))
    process.start()
    sender.close()
    try:
        found: Measured = receiver.recv()
    except EOFError:
        found = Measured(problem="the process died, most likely for lack of memory")
    process.join()
    return found


def _answer(variant: str, work: Work, sender: Any) -> None:
    try:
        with tempfile.TemporaryDirectory() as place, open(os.devnull, "w") as nowhere:
            sys.stdout = nowhere  # events of the engine, logs of the trainer
            os.chdir(place)
            found = _train(variant, work, Path(place))
    except torch.OutOfMemoryError:
        found = Measured(problem="out of memory")
    except Exception as error:
        found = Measured(problem=f"{type(error).__name__}: {error}"[:200])
    sender.send(found)


def _train(variant: str, work: Work, folder: Path) -> Measured:
    plan = make_work_plan(work)
    devices.seed_everything(work.seed)
    torch.set_num_threads(plan.threads)
    if variant == OURS:
        devices.make_deterministic(threads=plan.threads)  # as every run of the engine does
        model = make_work_model(work, plan, attention.NAME)
        train = OurTrainer(model, plan, folder)
    else:
        settings = dict(PEERS[variant])
        model = make_work_model(work, plan, settings.pop("attention", "sdpa"))
        train = TheirTrainer(model, plan, folder, work.size.batch_rows, settings)
    train(work.samples[-2 * work.size.batch_rows :])  # buffers, kernels and compiled code are there afterwards
    if work.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, loss = train(work.samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if work.device == "cuda":
        peak = torch.cuda.max_memory_reserved() / 2**30
    return Measured(seconds, peak, loss, count_operations(work.size, model, work.samples))


def make_work_plan(work: Work) -> Plan:
    """A plan by the engine's rules, with the row length and batch that the peers have, too."""
    size = work.size
    start = "base: a/b@main" if work.method != "pretrain" else (
        f"architecture: {{family: llama, layers: 1, width: 8, heads: 1, context_tokens: {size.most_tokens}}}\n"
        "tokenizer: {train: {type: bpe, vocabulary: 512}}"
    )  # fmt: skip
    recipe = parse_recipe(
        f"version: 1\n{start}\ncontributions: [{{data: a/d@main}}]\n"
        f"train: {{method: {work.method}, epochs: 1, context_tokens: {size.most_tokens}, "
        f"batch_tokens: {size.most_tokens * size.batch_rows}, seed: {work.seed}}}\n"
    )
    facts = Facts(
        parameters=10**7,
        model_context=size.most_tokens,
        corpus_tokens=work.positions,
        longest_document=size.most_tokens,
        device=work.device,
        precision="bf16_products" if work.precision == "bf16" and work.device == "cpu" else work.precision,
        threads=devices.count_threads(),
        sizes=read_sizes(size.describe("sdpa").to_dict(), 10**7),
    )
    draft = make_plan(recipe, facts, {})
    return finish_plan(draft, rows=Batches(make_corpus(work.samples), draft).packing.rows, pinned={})


def make_work_model(work: Work, plan: Plan, attention_name: str) -> Any:
    """The same weights for every variant, in the precision in which the engine opens them."""
    from transformers import AutoModelForCausalLM

    attention.register()
    make: Any = AutoModelForCausalLM.from_config
    model = make(work.size.describe(attention_name))
    hf_format.draw_weights(model, seed=work.seed, deviation=0.02)
    if plan.method == "lora" and plan.precision == "bf16":
        model = model.to(torch.bfloat16)
    model = model.to(work.device)
    if plan.method == "lora":
        model = lora.add_adapter(model, plan)
    return model.train()


class OurTrainer:
    def __init__(self, model: Any, plan: Plan, folder: Path) -> None:
        self.model, self.plan, self.folder, self.runs = model, plan, folder, 0

    def __call__(self, samples: list[NDArray[np.int64]]) -> tuple[float, float]:
        self.runs += 1
        batches = Batches(make_corpus(samples), self.plan)
        plan = finish_plan(dataclasses.replace(self.plan, steps=0), rows=batches.packing.rows, pinned={})
        out = self.folder / f"ours-{self.runs}"
        out.mkdir()
        loop = TimedLoop(
            model=self.model, batches=Batches(make_corpus(samples), plan), plan=plan, out=out,
            device=torch.device(plan.device), samples=Samples([], [], set(), None), stop=StopRequest(),
        )  # fmt: skip
        loop.run()
        return loop.ended - loop.began, loop.progress.losses[-1]


class TimedLoop(Loop):
    """The engine's loop, which notes when its first step begins and its last one ends."""

    began = 0.0
    ended = 0.0

    def _take_step(self) -> None:
        self.began = self.began or time.perf_counter()
        super()._take_step()
        self.ended = time.perf_counter()


class TheirTrainer:
    def __init__(self, model: Any, plan: Plan, folder: Path, batch_rows: int, settings: dict[str, Any]) -> None:
        self.model, self.plan, self.folder, self.batch_rows = model, plan, folder, batch_rows
        self.is_packed = settings.get("rows") == "packed"
        self.settings = {name: value for name, value in settings.items() if name != "rows"}
        if settings.get("activation_checkpointing"):
            model.enable_input_require_grads()

    def __call__(self, samples: list[NDArray[np.int64]]) -> tuple[float, float]:
        from transformers import Trainer, TrainerCallback, TrainingArguments

        class Watch(TrainerCallback):
            began = ended = 0.0

            def on_step_begin(self, *args: Any, **others: Any) -> None:
                self.began = self.began or time.perf_counter()

            def on_step_end(self, *args: Any, **others: Any) -> None:
                self.ended = time.perf_counter()

        watch, plan = Watch(), self.plan

        class Scheduled(Trainer):  # type: ignore[misc]
            """With the engine's learning rates: transformers begins a warm-up at zero, which loses a step."""

            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                share = [rate_at(plan, step) / plan.learning_rate for step in range(plan.steps)]
                follow = torch.optim.lr_scheduler.LambdaLR(
                    optimizer or self.optimizer, lambda step: share[min(step, plan.steps - 1)]
                )
                self.lr_scheduler = follow
                return follow

        asked = {
            "output_dir": str(self.folder), "per_device_train_batch_size": self.batch_rows, "num_train_epochs": 1,
            "learning_rate": plan.learning_rate, "weight_decay": plan.weight_decay,
            "max_grad_norm": plan.clip_norm, "save_strategy": "no", "report_to": "none", "disable_tqdm": True,
            "remove_unused_columns": False, "use_cpu": plan.device == "cpu", "bf16": plan.precision != "fp32",
            "seed": plan.seed,
        }  # fmt: skip
        settings = TrainingArguments(**{**asked, **self.settings})
        rows = list_packed(samples, plan) if self.is_packed else list_padded(samples)
        collate = self._collate_packed if self.is_packed else self._collate_padded
        trainer = Scheduled(
            model=self.model, args=settings, train_dataset=Rows(rows), data_collator=collate, callbacks=[watch]
        )  # type: ignore[arg-type]
        loss = trainer.train().training_loss
        if plan.device == "cuda":
            torch.cuda.synchronize()
            watch.ended = time.perf_counter()
        return watch.ended - watch.began, loss

    def _collate_padded(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(row["length"] for row in rows)
        return {
            "input_ids": fill(rows, "input_ids", longest, 0),
            "attention_mask": fill(
                [{"seen": np.ones(row["length"], dtype=np.int64)} for row in rows], "seen", longest, 0
            ),
            "labels": fill(rows, "labels", longest, IGNORED),
        }

    def _collate_packed(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        labels = fill(rows, "shift_labels", self.plan.context_tokens, IGNORED)
        return {
            "input_ids": fill(rows, "input_ids", self.plan.context_tokens, 0),
            # What fills a row up is a document of its own at each position.
            "position_ids": fill(rows, "position_ids", self.plan.context_tokens, 0),
            "labels": labels,
            "shift_labels": labels,
        }


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.rows[number]


def fill(rows: list[dict[str, Any]], name: str, length: int, value: int) -> torch.Tensor:
    """int64 [rows, length], filled up on the right."""
    found = torch.full((len(rows), length), value, dtype=torch.int64)
    for row, target in zip(rows, found, strict=True):
        target[: len(row[name])] = torch.from_numpy(np.asarray(row[name]))
    return found
