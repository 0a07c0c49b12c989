"""The plan of a run: from the recipe and what is known of model, data and device, once, and the same when the run goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from training.engine import devices, hf_format
from training.engine.architectures import PADDED, get_family
from training.engine.batches import Batches
from training.engine.config import Facts, Plan, finish_plan, load_plan, make_plan, save_plan
from training.engine.corpus import Corpus
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.fitting import Cut, describe_cut, format_bytes
from training.engine.footprint import read_sizes
from training.engine.networks import count_parameters

if TYPE_CHECKING:
    from training.engine.run import Job


def settle_plan(job: Job, corpus: Corpus, tokenizer: Any) -> tuple[Plan, Batches]:
    """The plan of this run: the one it began with, or a new one."""
    digests = {"recipe_digest": job.recipe_digest, "corpus_digest": corpus.digest}
    path = job.out / "plan.json"
    plan = load_plan(path, **digests)
    if plan and plan.device != job.device.type:
        raise EngineError(
            f"The run began on {plan.device}; go on there, or choose an empty output folder", code="other_device"
        )
    if plan and plan.precision == "bf16_products" and not job.ranks.is_alone:
        emit("warning", code="precision_changed", message="The run began with products of bf16, which one process makes; "
             "several go on in fp32, with slightly other figures.")  # fmt: skip
    if plan is None:
        draft = make_plan(job.recipe, collect_facts(job, corpus, tokenizer), job.pinned)
        rows = Batches(corpus, draft).packing.rows
        if not rows and corpus.is_paired:
            raise EngineError(f"No pair of answers is short enough to be read whole in {draft.context_tokens} tokens; "
                              "raise train.context_tokens or bring shorter answers", code="no_usable_rows")  # fmt: skip
        if not rows:
            raise EngineError("No row teaches anything: all are shorter than two tokens; add longer rows",
                              code="no_usable_rows")  # fmt: skip
        plan = finish_plan(draft, rows=rows, pinned=job.pinned)
        save_plan(plan, path, **digests)
    batches = Batches(corpus, plan)
    say_cut(job, plan)
    warn_of_limits(job, plan, corpus, batches)
    return plan, batches


def collect_facts(job: Job, corpus: Corpus, tokenizer: Any) -> Facts:
    if job.base:
        shape = hf_format.read_shape(job.base.folder, job.base.name)
        config, parameters, context = shape.config, shape.parameters, shape.context_tokens
    else:
        architecture = job.recipe.architecture
        assert architecture is not None
        config = hf_format.describe_architecture(architecture, tokenizer)
        parameters, context = count_parameters(architecture, len(tokenizer)), architecture.context_tokens
    return Facts(
        parameters=parameters,
        model_context=context,
        corpus_tokens=int(corpus.manifest["tokens"]),
        longest_document=int(corpus.manifest["longest_tokens"]),
        device=job.device.type,
        precision=choose_precision(job),
        threads=devices.count_threads(),
        sizes=read_sizes(config.to_dict(), parameters),
        room_bytes=devices.find_room(job.device, processes=job.ranks.count_here),
        ranks=job.ranks.count,
        is_padded=get_family(config).packing == PADDED,
    )


def choose_precision(job: Job) -> str:
    """The recipe's; where that is left open, the lock's, for the bits hang on it."""
    train = job.recipe.train
    assert train is not None
    asked = train.precision if train.precision != "auto" else str(job.pinned.get("engine.precision", "auto"))
    chosen = devices.choose_precision(asked, job.device, ranks=job.ranks.count)
    # Compiled layers make their own products.
    return "fp32" if chosen == "bf16_products" and train.compile == "on" else chosen


def say_cut(job: Job, plan: Plan) -> None:
    """How a step is read, and why; a warning where it is not expected to fit."""
    room = devices.find_room(job.device, processes=job.ranks.count_here)
    cut = Cut(plan.rows_per_pass, plan.recomputed_layers, plan.needed_bytes, room)
    rows = math.ceil(plan.rows_per_step / job.ranks.count)
    sentence = describe_cut(cut, rows_per_step=rows, layers=plan.layers)
    emit(
        "progress", stage="train", message=sentence, rows_per_pass=plan.rows_per_pass, rows_per_step=plan.rows_per_step,
        recomputed_layers=plan.recomputed_layers, needed_bytes=plan.needed_bytes, room_bytes=room,
    )  # fmt: skip
    if not cut.fits:
        emit("warning", code="memory_tight", message=f"A step needs about {format_bytes(plan.needed_bytes)}, and there are "
             f"{format_bytes(room)}; if it stops for that, set a smaller train.context_tokens, train with method: lora, or "
             "start from a smaller model.")  # fmt: skip


def warn_of_limits(job: Job, plan: Plan, corpus: Corpus, batches: Batches) -> None:
    """Say what a rule decided that a person may not expect."""
    train = job.recipe.train
    if train and train.epochs == "auto" and plan.device == "cpu":
        emit("warning", code="steps_bounded", message=f"epochs: auto became {plan.epochs:g} ({plan.steps} steps), "
             "so that a CPU is done in a few minutes; write train.epochs for more.")  # fmt: skip
    longest = int(corpus.manifest["longest_tokens"])
    if corpus.is_paired:
        pairs = int(corpus.manifest["rows"])
        if left_out := pairs - len(batches.packing.pieces) // 2:
            emit("warning", code="pairs_left_out", message=f"{left_out} of {pairs} pairs have an answer over "
                 f"{plan.context_tokens} tokens, its question included, and are left out; raise train.context_tokens.")  # fmt: skip
    elif longest > plan.context_tokens:
        emit("warning", code="rows_split", message=f"The longest row has {longest} tokens and is split into parts of "
             f"{plan.context_tokens}; raise train.context_tokens to keep rows whole.")  # fmt: skip
