"""`run RECIPE --inputs DIR --out DIR`: from a recipe and its inputs to weights and the evidence of how they came about.

Every part leaves its result under OUT by a rename and is skipped when it is there: a run that was killed is simply
started again. Nothing here talks to a network."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine import devices, hf_format, lora
from training.engine.architectures import find_packing
from training.engine.batches import Batches
from training.engine.config import Plan
from training.engine.corpus import Corpus, open_corpus
from training.engine.digests import digest_json
from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.inputs import InputRepo, Inputs
from training.engine.loop import SIGTERM_EXIT, Loop, Samples, Stopped, StopRequest
from training.engine.objectives import Objective
from training.engine.planning import settle_plan
from training.engine.preference import Preference
from training.engine.prepare import find_suites, prepare_corpus
from training.engine.provenance import check_pins, read_pinned
from training.engine.ranks import Ranks, join
from training.engine.recipe import Recipe, format_recipe, parse_recipe
from training.engine.results import mean_loss, save_result_model, write_result
from training.engine.samples import choose_prompts, make_held_out_batches
from training.engine.sharding import gather_into

MAX_RECIPE_BYTES = 1 << 20


@dataclass
class Job:
    """What the stages hand on."""

    recipe: Recipe
    inputs: Inputs
    out: Path
    device: torch.device
    base: InputRepo | None
    suites: list[InputRepo]  # evaluation suites among the inputs
    repos: list[InputRepo]  # all of them, once each
    files: dict[str, dict[str, Any]]  # repo name -> path -> {"sha256", "size"}
    pinned: Mapping[str, Any]
    ranks: Ranks

    @property
    def recipe_digest(self) -> str:
        return digest_json(format_recipe(self.recipe))


def main(argv: list[str]) -> int:
    args = parse_arguments(argv)
    stop = StopRequest()
    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        device = devices.choose_device(args.device)
        with join(device) as ranks:
            return run(args, stop, device, ranks)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def run(args: argparse.Namespace, stop: StopRequest, device: torch.device, ranks: Ranks) -> int:
    """All stages; the exit code."""
    devices.make_deterministic(threads=devices.count_threads())
    job = ranks.take_turns(lambda: open_job(args, device, ranks))
    finished = read_result(job)
    if finished:
        emit("done", **finished)
        return 0
    corpus, tokenizer = ranks.take_turns(lambda: prepare_corpus(job))
    if args.until == "prepare":
        emit("done", stage="prepare", corpus_digest=corpus.digest)
        return 0
    try:
        result = train(job, corpus, tokenizer, stop, args.stop_after_step)
    except Stopped as stopped:
        emit("stage", stage="train", state="stopped", message=str(stopped))
        return SIGTERM_EXIT if stop.is_asked else 0
    emit("done", **result)
    return 0


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.engine run", description="Train what a recipe describes.")
    parser.add_argument("recipe", type=Path, help="recipe.yaml")
    parser.add_argument("--inputs", type=Path, required=True, metavar="DIR", help="what `fetch` brought")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; a run found there goes on")
    parser.add_argument("--until", choices=("prepare", "train"), default="train", help="stop after this stage")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--stop-after-step", type=int, metavar="N", help="save, then stop; for trying out resuming")
    return parser.parse_args(argv)


def open_job(args: argparse.Namespace, device: torch.device, ranks: Ranks) -> Job:
    """Read and check everything that is cheap to check, before anything dear begins."""
    recipe = parse_recipe(read_recipe_text(args.recipe))
    if recipe.train is None:
        raise EngineError("The recipe has no train section, so there is nothing to run", code="nothing_to_train")
    inputs = Inputs(args.inputs)
    base = inputs.find("model", recipe.base) if recipe.base else None
    if base:
        hf_format.check_model_folder(base.folder, base.name)
    data = [inputs.find("dataset", c.repo) for c in recipe.contributions if c.kind == "data"]
    suites = find_suites(recipe, inputs)
    repos = list({(r.type, r.name): r for r in [*([base] if base else []), *data, *suites]}.values())
    files = {repo.name: repo.hash_files() for repo in repos}
    lock = read_pinned(args.inputs / "recipe.lock")
    check_pins(lock, repos, files)
    args.out.mkdir(parents=True, exist_ok=True)
    pinned = lock.resolved if lock else {}
    return Job(recipe, inputs, args.out, device, base, suites, repos, files, pinned, ranks)


def read_recipe_text(path: Path) -> str:
    try:
        data = path.read_bytes()[: MAX_RECIPE_BYTES + 1]
        if len(data) > MAX_RECIPE_BYTES:
            raise EngineError(f"{path.name} is larger than 1 MiB; a recipe is a short text", code="recipe_invalid")
        return data.decode("utf-8")
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror})", code="recipe_missing") from error
    except UnicodeDecodeError as error:
        raise EngineError(
            f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8", code="wrong_encoding"
        ) from error


def read_result(job: Job) -> dict[str, Any] | None:
    """The result of a run that ended before; None when there is none for this recipe."""
    path = job.out / "result.json"
    if not path.is_file():
        return None
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    plan = json.loads((job.out / "plan.json").read_text(encoding="utf-8"))
    if plan["recipe_digest"] != job.recipe_digest:
        raise EngineError(
            "The output folder holds the result of another recipe; choose an empty folder", code="other_run"
        )
    corpus = open_corpus(job.out / "corpus")
    return result if corpus.digest == result["corpus_digest"] else None


def train(job: Job, corpus: Corpus, tokenizer: Any, stop: StopRequest, stop_after_step: int | None) -> dict[str, Any]:
    plan, batches = job.ranks.take_turns(lambda: settle_plan(job, corpus, tokenizer))
    devices.make_deterministic(threads=plan.threads)
    devices.seed_everything(plan.seed)
    # Shared out, a model passes through the CPU: the device of one rank need not hold it.
    model = open_model(job, plan, tokenizer, job.device if job.ranks.is_alone else torch.device("cpu"))
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    emit(
        "stage", stage="train", state="started", method=plan.method, steps=plan.steps, trained_parameters=learning,
        context_tokens=plan.context_tokens, batch_tokens=plan.batch_tokens, learning_rate=plan.learning_rate,
        rows=batches.packing.rows, device=devices.describe_device(job.device), threads=plan.threads,
        ranks=job.ranks.count, packing=find_packing(model.config, plan.context_tokens),
    )  # fmt: skip
    samples = Samples(
        choose_prompts(corpus, tokenizer),
        []
        if corpus.is_paired
        else make_held_out_batches(corpus, context_tokens=plan.context_tokens, device=job.device),
        {tokenizer.eos_token_id, *hf_format.list_end_tokens(tokenizer)},
        tokenizer,
    )
    loop = Loop(
        model=model, batches=batches, plan=plan, out=job.out, device=job.device, samples=samples, stop=stop,
        ranks=job.ranks, objective=make_objective(job, plan, corpus, batches),
    )  # fmt: skip
    progress = loop.run(stop_after_step=stop_after_step)
    held_out, preference = loop.measure_held_out(), loop.judge()
    del loop
    emit("stage", stage="train", state="done", steps=progress.step, loss=mean_loss(progress))
    if not job.ranks.is_alone:
        shared, model = model, open_model(job, plan, tokenizer, job.device) if job.ranks.is_first else None
        gather_into(model, shared)
        del shared
    if not job.ranks.is_first:
        return {}  # the first one writes and tells the result
    difference = save_result_model(job, plan, model, batches, tokenizer)
    evidence = {"held_out_loss": held_out.get("held_out_loss"), "max_logit_difference": difference}
    return write_result(job, plan, corpus, progress, evidence | ({"preference": preference} if preference else {}))


def make_objective(job: Job, plan: Plan, corpus: Corpus, batches: Batches) -> Objective | None:
    if plan.objective == "likelihood":
        return None
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    return Preference(plan, corpus, batches, job.device, dtype)


def open_model(job: Job, plan: Plan, tokenizer: Any, device: torch.device) -> Any:
    """The model that learns, in fp32; under an adapter on CUDA the frozen weights rest in bf16."""
    if job.recipe.architecture:
        model = hf_format.make_model(job.recipe.architecture, tokenizer=tokenizer, seed=plan.init_seed, device=device)
    else:
        assert job.base is not None
        frozen_bf16 = plan.method == "lora" and plan.precision == "bf16"
        dtype = torch.bfloat16 if frozen_bf16 else torch.float32
        model = hf_format.load_model(job.base.folder, job.base.name, dtype=dtype, device=device)
    if plan.method == "lora":
        model = lora.add_adapter(model, plan)
    model.train()
    return model
