"""Bodies of training's jobs. Each may be started again at any moment: the engine goes on from what lies in its folder."""

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from hub.common.jobs import JobRefused, JobRetry, Lease, job_body
from hub.community.models import Check, PullRequest
from training.engine.config import FINAL_LOSS_STEPS
from training.engine.lock import parse_lock
from training.engine.smaller import make_smaller
from training.evaluating import commit_evaluations, evaluations, sampling
from training.events import candidate_trained
from training.models import Corpus, Run
from training.proposals.candidates import add_outputs, forgotten_rebuilds, queue_rebuild, rebuild, rebuild_ended
from training.proposals.parents import read_inputs_lock
from training.proposals.recipes import RecipeRefused, check_pins
from training.running import replays, runs
from training.running.inputs import write_inputs
from training.running.outputs import complete_lock, keep_model
from training.running.records import keep_curve
from training.workers import conversations
from training.workers.materials import trim_cache
from training.workers.memory import TooMuchMemory
from training.workers.worker import OUT_OF_MEMORY, engine_processes, in_processes, relay, require_success, supervise


def run_folder(run: Run) -> Path:
    return Path(settings.DATA_DIR) / "runs" / str(run.pk)


def load_run(lease: Lease) -> Run:
    run = Run.objects.select_related("repo", "pull_request__discussion").filter(pk=lease.payload["run_id"]).first()
    if run is None or run.pull_request is None:
        raise JobRefused("The pull request or its repository is gone.")
    if run.is_superseded:
        raise JobRefused("Newer inputs replaced this run.")
    return run


def run_engine(lease: Lease, run: Run, *, until: str) -> Path:
    """Lay out the inputs, run the engine until a stage is done, and return its out folder."""
    folder = run_folder(run)
    lock_text = read_inputs_lock(run)
    check_inputs(run, lock_text)
    lease.report("progress", sentence="Laying out the inputs")
    write_inputs(folder / "inputs", lock_text)
    lease.check()
    out = folder / "out"
    arguments = ["run", str(folder / "inputs" / "recipe.yaml"), "--inputs", str(folder / "inputs"), "--out", str(out)]
    try:
        arguments = in_processes([*arguments, "--until", until], engine_processes() if until == "train" else 1)
        outcome = supervise(lease, arguments, own=out, reads=[folder / "inputs"], on_event=relay(lease))
        if outcome.is_out_of_memory:
            go_on_smaller(lease, out, OUT_OF_MEMORY)
    except TooMuchMemory as problem:
        go_on_smaller(lease, out, str(problem).partition(";")[0] + ".")
        raise
    require_success(outcome)
    return out


def go_on_smaller(lease: Lease, out: Path, why: str) -> None:
    """Raises JobRetry after making the plan smaller; returns where that is not possible any more."""
    change = make_smaller(out)
    if change is None:
        return
    sentence = f"{why} It goes on with {change}; each step still learns the same."
    lease.report("warning", code="smaller_passes", message=sentence)
    raise JobRetry(sentence)


def check_inputs(run: Run, lock_text: str) -> None:
    assert run.pull_request is not None
    try:
        check_pins(parse_lock(lock_text), run.pull_request)
    except RecipeRefused as problem:
        raise JobRefused(problem.message) from None


@job_body("training.rebuild", queue="quick", on_end=rebuild_ended)
def rebuild_candidate(lease: Lease) -> None:
    """Build the candidate of a pull request that makes weights, for its present head and target."""
    pull_request = PullRequest.objects.select_related("discussion__repo", "discussion__author").get(
        pk=lease.payload["pull_request_id"]
    )
    run = rebuild(pull_request)
    # The target's weights changed: compare with them. An attempt before this one may have begun to.
    if (
        run is not None
        and pull_request.checks.filter(name__in=("evaluate", "screen"), state=Check.State.WAITING).exists()
    ):
        judge(run, since=lease.job.created_at)


@job_body("training.rebuild_forgotten", queue="quick", every_s=600)
def rebuild_forgotten(lease: Lease) -> None:
    """What broke in the hub while a candidate was built is tried again when it may have been mended."""
    for pull_request in forgotten_rebuilds():
        queue_rebuild(pull_request)


@job_body("training.end_forgotten", queue="quick", every_s=600)
def end_forgotten(lease: Lease) -> None:
    """No run stays "training" without a job at work for it, whatever became of the job."""
    for run in runs.forgotten_runs():
        runs.end_forgotten(run)


@job_body("training.start_held", queue="quick", every_s=600)
def start_held(lease: Lease) -> None:
    """Proposals that waited for free training time start when there is some again."""
    runs.start_held()


@job_body("training.prepare", queue="cpu", on_end=runs.job_ended)
def prepare(lease: Lease) -> None:
    """Data to corpus."""
    run = load_run(lease)
    runs.show(run, "prepare", Check.State.RUNNING, "Reading, cleaning and packing the data.")
    out = run_engine(lease, run, until="prepare")
    manifest = json.loads((out / "corpus" / "manifest.json").read_text())
    with lease.hold():
        corpus = keep_corpus(manifest)
        Run.objects.filter(pk=run.pk).update(corpus=corpus)
        dropped = sum(corpus.dropped.values())
        summary = f"{corpus.rows:,} rows, {corpus.tokens:,} tokens" + (
            f"; {dropped:,} rows dropped." if dropped else "."
        )
        runs.show(run, "prepare", Check.State.PASSED, summary, corpus=corpus.pk)
        run.refresh_from_db()
        runs.prepared(run)


def keep_corpus(manifest: dict[str, Any]) -> Corpus:
    corpus, _ = Corpus.objects.get_or_create(
        digest=manifest["corpus_digest"],
        defaults={
            "manifest": manifest,
            "rows": manifest.get("rows", 0),
            "tokens": manifest.get("tokens", 0),
            "dropped": manifest.get("dropped", {}),
        },
    )
    return corpus


@job_body("training.train", queue="gpu", on_end=runs.job_ended)
def train(lease: Lease) -> None:
    """Corpus to weights, weights to the candidate, and on to evaluation and screening."""
    run = load_run(lease)
    runs.show(run, "train", Check.State.RUNNING, "Training; the curve below is live.")
    out = run_engine(lease, run, until="train")
    result = json.loads((out / "result.json").read_text())
    result["lock"] = complete_lock(read_inputs_lock(run), (out / "recipe.lock").read_text())
    result["curve"] = keep_curve(run, out / "metrics.jsonl")
    lease.report("progress", sentence="Storing the weights")
    keep_model(run, out / "model", step=result["steps"], digest=result["model_digest"])
    lease.check()
    with lease.hold():
        runs.trained(run, result)
    run.refresh_from_db()
    add_outputs(run)
    summary = describe_training(result)
    with lease.hold():
        runs.show(run, "train", Check.State.PASSED, summary, model=result["model_digest"])
    judge(run, since=lease.job.created_at)
    shutil.rmtree(run_folder(run) / "inputs", ignore_errors=True)
    for folder in ("checkpoints", "compiled"):
        shutil.rmtree(run_folder(run) / "out" / folder, ignore_errors=True)


def describe_training(result: dict[str, Any]) -> str:
    """The curve ends at another number than this mean."""
    steps, loss = result["steps"], result.get("final_loss")
    last = min(FINAL_LOSS_STEPS, steps)
    mean = f"mean loss of the last {last} steps" if last > 1 else "loss"
    return f"{steps:,} steps, {mean} {loss:.3f}." if loss is not None else f"{steps:,} steps."


def judge(run: Run, *, since: datetime | None = None) -> None:
    """Start what judges a trained candidate: evaluation here, the screening of its answers in the room above.

    What an earlier attempt of the same job (`since` its creation) has started already is left alone."""
    started = set(runs.jobs_of(run).filter(created_at__gt=since).values_list("kind", flat=True)) if since else set()
    if "training.evaluate" not in started:
        with transaction.atomic():
            evaluations.start(run)
    if "training.sample" not in started:
        candidate_trained.send(Run, run=run, pull_request=run.pull_request)


@job_body("training.evaluate", queue="gpu", on_end=evaluations.job_ended)
def evaluate(lease: Lease) -> None:
    evaluations.carry_out(lease)


@job_body("training.evaluate_commit", queue="gpu", on_end=commit_evaluations.job_ended)
def evaluate_commit(lease: Lease) -> None:
    commit_evaluations.carry_out(lease)


@job_body("training.replay", queue="gpu", on_end=replays.job_ended)
def replay(lease: Lease) -> None:
    replays.carry_out(lease)


@job_body("training.sample", queue="gpu", on_end=sampling.job_ended)
def sample(lease: Lease) -> None:
    sampling.carry_out(lease)


@job_body("training.chat", queue="chat", max_attempts=2)
def chat(lease: Lease) -> None:
    conversations.carry_out(lease)


@job_body("training.trim_cache", queue="default", every_s=3600)
def trim(lease: Lease) -> None:
    lease.report("log", line=f"{trim_cache():,} bytes freed")
