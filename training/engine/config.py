"""The plan of a run: every number it needs, with each "auto" of the recipe made a number by the rules below.

The rules are small and written down so that a person can foresee them. A plan is saved beside the run and read back on
resume, so a run never changes its mind."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.fitting import Cut, cut_step
from training.engine.footprint import Sizes, Training
from training.engine.recipe import Recipe, Train

# Greatest parameter count (exclusive) -> peak learning rate. Small models take larger steps.
LEARNING_RATES = {
    "lora": ((1e6, 3e-3), (5e8, 5e-4), (3e9, 2e-4), (math.inf, 1e-4)),
    "full": ((1e6, 1e-3), (5e8, 5e-5), (3e9, 2e-5), (math.inf, 1e-5)),
    "pretrain": ((5e6, 3e-3), (1e8, 1e-3), (5e8, 6e-4), (math.inf, 3e-4)),
}
# The same for preferences. Published: full DPO at 5e-7 (Zephyr 7B, https://arxiv.org/abs/2310.16944; TRL's script for
# 0.5B) to 1e-6 (TRL's default; SmolLM2's recipe), adapters at ten times that (TRL's script: 5e-6), SimPO from 3e-7 to 1e-6
# (its authors, 7 and 8B). Those are runs over tens of thousands of pairs; ours have some hundred, so small models step wider.
PREFERENCE_RATES = {
    "lora": ((1e6, 1e-3), (5e8, 5e-5), (3e9, 2e-5), (math.inf, 5e-6)),
    "full": ((1e6, 3e-4), (5e8, 5e-6), (3e9, 1e-6), (math.inf, 5e-7)),
}
BETAS = {"dpo": 0.1, "simpo": 2.0}  # of the papers; 0.1 is TRL's default too
MARGIN_SHARE = 0.5  # of beta: where SimPO's authors begin (https://github.com/princeton-nlp/SimPO)
FINAL_LOSS_STEPS = 10  # final_loss is the mean of so many, the last ones
SGD_FACTOR = 100.0  # SGD's steps are not normalised by the gradient's size
BATCH_TOKENS = {  # (method, device) -> most tokens of a step when left to us
    ("lora", "cpu"): 2048,
    ("full", "cpu"): 4096,
    ("pretrain", "cpu"): 8192,
    ("lora", "cuda"): 16384,
    ("full", "cuda"): 16384,
    ("pretrain", "cuda"): 65536,
}
MIN_STEPS = 40  # a smaller batch is chosen for tiny data, so that the optimizer gets this many steps
MIN_CONTEXT, MAX_CONTEXT = 128, 1024
USUAL_RANK = 16  # of an adapter
AUTO_EPOCHS = {"lora": 3.0, "full": 3.0, "pretrain": 1.0}
# On a CPU, `epochs: auto` stops adding passes when about two minutes of arithmetic are planned (never below one pass).
# 45 GFLOP/s a thread: two thirds of what a 135M LoRA reached on an idle AVX-512 core, for a hub runs beside it.
CPU_SECONDS, CPU_FLOPS_PER_THREAD = 120, 45e9
FLOPS_PER_TOKEN = {"lora": 4, "full": 6, "pretrain": 6}  # times parameters
DECAY_SHARE = 0.2  # of all steps, for schedule wsd; source: https://arxiv.org/abs/2405.18392
SAMPLES_A_RUN = 2  # after the one before the first step


@dataclass(frozen=True)
class Facts:
    """What the rules look at."""

    parameters: int
    model_context: int  # tokens the model can read
    corpus_tokens: int
    longest_document: int  # tokens
    device: str  # cpu | cuda
    precision: str  # fp32 | bf16 | bf16_products
    threads: int
    sizes: Sizes | None = None  # of the network; without them memory is no matter
    room_bytes: int = 0  # of the device, for this process; 0: not known
    ranks: int = 1
    is_padded: bool = False  # each document in a row of its own


@dataclass(frozen=True)
class Plan:
    method: str
    rank: int
    alpha: float
    context_tokens: int  # length of a row; longer documents are split. A row of pairs is twice as long
    batch_tokens: int  # of one optimizer step
    rows_per_step: int
    rows_per_pass: int  # of one forward and backward pass
    epochs: float  # passes over the mix; 0 where steps or tokens decide
    steps: int  # 0 until the packed rows are counted
    optimizer: str
    learning_rate: float
    schedule: str
    warmup_steps: int
    weight_decay: float
    clip_norm: float
    precision: str
    seed: int
    init_seed: int
    threads: int
    device: str
    output: str
    decay_steps: int = 0  # of schedule wsd, at the end
    variant: str = "plain"  # of the adapter
    objective: str = "likelihood"
    beta: float = 0.0  # of dpo and simpo
    target_margin: float = 0.0  # of simpo
    layers: int = 0  # of the network; 0: not known
    recomputed_layers: int = 0  # whose activations are made twice instead of kept
    needed_bytes: int = 0  # of a step, by the estimate
    compile: str = "off"  # off | on

    @property
    def sample_every_steps(self) -> int:
        return max(1, math.ceil(self.steps / SAMPLES_A_RUN))


def make_plan(recipe: Recipe, facts: Facts, pinned: Mapping[str, Any]) -> Plan:
    """The plan before packing. `pinned`, the `resolved` of a lock, wins over a rule but not over the recipe."""
    train = recipe.train
    assert train is not None, "parse_recipe refuses a recipe without train"

    def choose(name: str, rule: Any) -> Any:
        value = getattr(train, name)
        return pinned.get(f"train.{name}", rule) if value == "auto" else value

    context = min(int(choose("context_tokens", fit_context(facts))), facts.model_context)
    row = context * row_documents(train)
    epochs = choose("epochs", auto_epochs(train.method, facts))
    wanted_tokens = train.tokens if isinstance(train.tokens, int) else (epochs or 1.0) * facts.corpus_tokens
    batch = int(choose("batch_tokens", fit_batch(train.method, facts, wanted_tokens, row)))
    steps = choose("steps", None) or 0
    if train.tokens == "auto" or train.steps == "auto":
        epochs, steps = pinned.get("train.epochs", auto_epochs(train.method, facts)), pinned.get("train.steps", 0)
    rank = int(choose("rank", USUAL_RANK))
    rows = max(1, batch // row)
    cut = choose_cut(train, facts, pinned, rows=rows, context=row, rank=rank)
    if isinstance(train.tokens, int):
        steps = math.ceil(train.tokens / (rows * row))
    beta = float(choose("beta", BETAS[train.objective])) if train.objective in BETAS else 0.0
    init = recipe.architecture.init_seed if recipe.architecture else 0
    return Plan(
        method=train.method,
        rank=rank if train.method == "lora" else 0,
        alpha=float(choose("alpha", 2.0 * rank)) if train.method == "lora" else 0.0,
        context_tokens=context,
        batch_tokens=rows * row,
        rows_per_step=rows,
        rows_per_pass=cut.rows_per_pass,
        epochs=0.0 if steps else float(epochs or 1.0),
        steps=steps,
        optimizer=train.optimizer,
        learning_rate=float(choose("learning_rate", fit_learning_rate(train, facts.parameters))),
        schedule=train.schedule,
        warmup_steps=-1 if train.warmup_steps == "auto" else train.warmup_steps,
        weight_decay=0.1 if train.method == "pretrain" else 0.0,
        clip_norm=1.0,
        precision=facts.precision,
        seed=int(choose("seed", 17)),
        init_seed=int(pinned.get("architecture.init_seed", 17)) if init == "auto" else init,
        threads=int(pinned.get("engine.threads", facts.threads)),
        device=facts.device,
        output=recipe.output,
        decay_steps=-1 if train.decay_steps == "auto" else train.decay_steps,
        variant=train.variant,
        objective=train.objective,
        beta=beta,
        target_margin=float(choose("target_margin", MARGIN_SHARE * beta)) if train.objective == "simpo" else 0.0,
        layers=facts.sizes.layers if facts.sizes else 0,
        recomputed_layers=cut.recomputed_layers,
        needed_bytes=cut.needed_bytes,
        compile=str(choose("compile", "on" if can_compile(facts, pinned) else "off")),
    )


def can_compile(facts: Facts, pinned: Mapping[str, Any]) -> bool:
    """Not a state space: a loop along the row, which a compiler would write out position by position. And not a run whose
    lock is of a time before compiling: it learnt from layers as they are written, and their bits differ."""
    return facts.device == "cuda" and not facts.is_padded and "engine.rows_per_pass" not in pinned


def choose_cut(train: Train, facts: Facts, pinned: Mapping[str, Any], *, rows: int, context: int, rank: int) -> Cut:
    """How many rows are read at once. A lock's number comes first: the order of sums, and so the bits, hang on it."""
    training = Training(train.method, train.optimizer, facts.precision, facts.device, rank, facts.ranks)
    return cut_step(
        facts.sizes,
        training,
        rows=math.ceil(rows / facts.ranks),
        context_tokens=context,
        longest=min(facts.longest_document, context // row_documents(train)),
        room_bytes=facts.room_bytes,
        is_padded=facts.is_padded,
        wanted_rows=int(pinned.get("engine.rows_per_pass", 0)),
    )


def row_documents(train: Train) -> int:
    """How many documents of full length a row holds: a pair of answers stands in one."""
    return 1 if train.objective == "likelihood" else 2


def finish_plan(plan: Plan, *, rows: int, pinned: Mapping[str, Any]) -> Plan:
    """The plan with steps, warm-up and decay, now that the corpus is packed into `rows` rows."""
    steps = plan.steps or max(1, math.ceil(plan.epochs * rows / plan.rows_per_step - 1e-9))
    warmup = plan.warmup_steps
    if warmup < 0:
        warmup = int(pinned.get("train.warmup_steps", min(100, max(1, round(0.06 * steps)))))
    warmup = min(warmup, steps)
    decay = plan.decay_steps
    if decay < 0:
        decay = int(pinned.get("train.decay_steps", max(1, round(DECAY_SHARE * steps))))
    decay = min(decay, steps - warmup) if plan.schedule == "wsd" else 0
    return replace(plan, steps=steps, warmup_steps=warmup, decay_steps=decay)


def fit_learning_rate(train: Train, parameters: int) -> float:
    rates = LEARNING_RATES if train.objective == "likelihood" else PREFERENCE_RATES
    rate = next(rate for bound, rate in rates[train.method] if parameters < bound)
    return rate * SGD_FACTOR if train.optimizer == "sgd" else rate


def fit_context(facts: Facts) -> int:
    """The smallest power of two that holds the longest document, from 128 to 1024, and what the model reads at most."""
    needed = 1 << max(0, facts.longest_document - 1).bit_length()
    return min(max(needed, MIN_CONTEXT), MAX_CONTEXT, facts.model_context)


def fit_batch(method: str, facts: Facts, wanted_tokens: float, context: int) -> int:
    """As large as the device likes, as small as 40 steps need; at least one row."""
    for_steps = int(wanted_tokens / MIN_STEPS)
    most = BATCH_TOKENS[method, facts.device]
    return max(min(most, for_steps) // context, 1) * context


def auto_epochs(method: str, facts: Facts) -> float:
    if facts.device != "cpu":
        return AUTO_EPOCHS[method]
    affordable_flops = CPU_SECONDS * CPU_FLOPS_PER_THREAD * facts.threads
    affordable = affordable_flops / (FLOPS_PER_TOKEN[method] * facts.parameters * max(1, facts.corpus_tokens))
    return max(1.0, min(AUTO_EPOCHS[method], round(affordable, 1)))


def list_resolved(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    """What goes into the lock: every "auto" of the recipe by its key, and what the engine added by itself."""
    train = recipe.train
    assert train is not None
    length = {"epochs": plan.epochs or None, "steps": plan.steps, "tokens": plan.steps * plan.batch_tokens}
    resolved = {}
    for item in fields(train):
        if getattr(train, item.name) == "auto":
            resolved[f"train.{item.name}"] = length.get(item.name, getattr(plan, item.name, None))
    if plan.schedule != "wsd":
        resolved.pop("train.decay_steps", None)
    if plan.objective != "simpo":
        resolved.pop("train.target_margin", None)
    if plan.objective == "likelihood":
        resolved.pop("train.beta", None)
    if plan.method != "lora":
        resolved = {k: v for k, v in resolved.items() if k not in ("train.rank", "train.alpha")}
    if recipe.architecture and recipe.architecture.init_seed == "auto":
        resolved["architecture.init_seed"] = plan.init_seed
    if recipe.architecture and recipe.architecture.kv_heads == "auto":
        resolved["architecture.kv_heads"] = recipe.architecture.heads
    resolved["engine.steps"] = plan.steps
    for name in (
        "rows_per_step",
        "rows_per_pass",
        "recomputed_layers",
        "weight_decay",
        "clip_norm",
        "threads",
        "precision",
    ):
        resolved[f"engine.{name}"] = getattr(plan, name)
    return resolved


def resolve_recipe(recipe: Recipe, resolved: Mapping[str, Any]) -> Recipe:
    """The recipe with its autos written out."""
    assert recipe.train is not None
    numbers = {key.removeprefix("train."): v for key, v in resolved.items() if key.startswith("train.")}
    train = replace(recipe.train, **numbers)
    if recipe.architecture is None:
        return replace(recipe, train=train)
    shape = {key.removeprefix("architecture."): v for key, v in resolved.items() if key.startswith("architecture.")}
    return replace(recipe, train=train, architecture=replace(recipe.architecture, **shape))


def save_plan(plan: Plan, path: Path, *, recipe_digest: str, corpus_digest: str) -> None:
    record = {"plan": asdict(plan), "recipe_digest": recipe_digest, "corpus_digest": corpus_digest}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(path)


def load_plan(path: Path, *, recipe_digest: str, corpus_digest: str) -> Plan | None:
    """The plan of a run that began before; EngineError when it was another run."""
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    if (record["recipe_digest"], record["corpus_digest"]) != (recipe_digest, corpus_digest):
        raise EngineError(
            "The output folder holds a run of another recipe or other data; choose an empty folder", code="other_run"
        )
    return Plan(**record["plan"])
