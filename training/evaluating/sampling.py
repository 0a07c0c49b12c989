"""Answers of a candidate and its parent to a set of prompts: what the output screens read and reviewers compare."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from hub.common import jobs
from hub.common.jobs import JobRefused, Lease
from hub.common.models import Job
from hub.repos.models import Repo
from training.engine.drawing import MAX_NEW_TOKENS, SEED, TEMPERATURE
from training.evaluating import guard_models
from training.events import sampling_finished
from training.models import Run, Sampling
from training.proposals.parents import parent_of
from training.workers.materials import model_folder
from training.workers.worker import relay, require_success, supervise

SAMPLE_BUDGET_S = 3600
GUARD_BUDGET_S = 1800  # more for each guard model, which reads the answers of both models


@transaction.atomic
def start(
    *,
    run: Run,
    prompts: list[dict[str, Any]],
    texts: Sequence[dict[str, Any]] = (),
    guards: Sequence[dict[str, Any]] = (),
    benchmark: Sequence[dict[str, Any]] = (),
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Sampling:
    """Enqueue the sampling of a run's candidate. `prompts`: [{"id","prompt", ...}]; `texts`, whose likelihood is measured:
    [{"id", "texts", ...}]; further keys of both are kept. `guards` are models that judge the answers, and before that the
    replies of `benchmark` (training.evaluating.guard_models)."""
    sampling = Sampling.objects.create(
        pull_request=run.pull_request,
        repo=run.repo,
        model_digest=run.model_digest,
        prompts_digest=digest_of(prompts),
        settings={"max_new_tokens": max_new_tokens, "seed": SEED, "temperature": TEMPERATURE},
    )
    sampling.job = jobs.enqueue(
        "training.sample",
        subject=f"run:{run.pk}",
        budget_s=SAMPLE_BUDGET_S + GUARD_BUDGET_S * len(guards),
        sampling_id=sampling.pk,
        run_id=run.pk,
        prompts=prompts,
        texts=list(texts),
        guards=list(guards),
        benchmark=list(benchmark) if guards else [],
    )
    sampling.save(update_fields=["job"])
    return sampling


def digest_of(rows: list[dict[str, Any]]) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def carry_out(lease: Lease) -> None:
    """Body of training.sample: the candidate's answers, then the parent's (kept, since a parent answers alike each time)."""
    sampling = Sampling.objects.get(pk=lease.payload["sampling_id"])
    run = Run.objects.select_related("pull_request__discussion", "repo").get(pk=lease.payload["run_id"])
    if run.is_superseded or run.pull_request is None:
        raise JobRefused("Newer inputs replaced this run.")
    prompts: list[dict[str, Any]] = lease.payload["prompts"]
    texts: list[dict[str, Any]] = lease.payload.get("texts", [])
    candidate, likely = answers_of(lease, run.repo, run.pull_request.candidate, prompts, texts, sampling)
    parent = parent_of(run)
    parents, parents_likely = answers_of(lease, *parent, prompts, texts, sampling) if parent else ({}, {})
    read = [prompt for prompt in prompts if prompt["id"] in candidate and (not parent or prompt["id"] in parents)]
    answers = [{**prompt, "text": candidate[prompt["id"]], "parent_text": parents.get(prompt["id"])} for prompt in read]
    asked = lease.payload.get("guards", [])
    said = guard_models.judge_answers(lease, asked, answers, lease.payload.get("benchmark", []))
    with lease.hold():
        sampling.answers = answers
        sampling.settings["unread"] = len(prompts) - len(read)
        if texts:
            sampling.settings["likelihoods"] = join_likelihoods(texts, likely, parents_likely)
        if asked:
            sampling.settings["guards"] = said
        sampling.parent_digest = f"{parent[0].full_name}@{parent[1]}"[:80] if parent else ""
        sampling.save()
    sampling_finished.send(Sampling, sampling=sampling, run=run)


def join_likelihoods(
    texts: list[dict[str, Any]], candidate: dict[str, Any], parent: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each row of texts with "logprobs" and "tokens", and those of the parent where there is one."""
    return [
        {**row, **candidate[row["id"]], **{f"parent_{key}": value for key, value in parent.get(row["id"], {}).items()}}
        for row in texts
    ]


def answers_of(
    lease: Lease,
    repo: Repo,
    commit: str,
    prompts: list[dict[str, Any]],
    texts: list[dict[str, Any]],
    sampling: Sampling,
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """id -> answer, without prompts longer than the model reads, and id -> likelihoods of the texts; reuses what a former
    attempt or an earlier sampling of the same revision already answered."""
    temperature, limit = sampling.settings["temperature"], sampling.settings["max_new_tokens"]
    name = f"{repo.key}-{commit}-{sampling.prompts_digest[7:23]}-{limit}-{temperature}"
    if texts:
        name += f"-{digest_of(texts)[7:15]}"
    folder = Path(settings.DATA_DIR) / "runs" / "answers" / name
    answers, likelihoods = folder / "answers.jsonl", folder / "likelihoods.jsonl"
    if not answers.exists():
        folder.mkdir(parents=True, exist_ok=True)
        questions, pairs = folder / "prompts.jsonl", folder / "texts.jsonl"
        questions.write_text("".join(json.dumps({"id": p["id"], "prompt": p["prompt"]}) + "\n" for p in prompts))
        pairs.write_text("".join(json.dumps({"id": row["id"], "texts": row["texts"]}) + "\n" for row in texts))
        model = model_folder(repo, commit)
        out = folder / "out"
        arguments = [
            "generate",
            "--model",
            str(model),
            "--prompts",
            str(questions),
            "--out",
            str(out / "answers.jsonl"),
        ]
        arguments += ["--max-new-tokens", str(limit), "--seed", str(SEED), "--temperature", str(temperature)]
        arguments.append("--leave-long")
        if texts:
            arguments += ["--texts", str(pairs), "--likelihoods", str(out / "likelihoods.jsonl")]
        outcome = supervise(lease, arguments, own=out, reads=[folder, model], on_event=relay(lease))
        require_success(outcome)
        if texts:
            (out / "likelihoods.jsonl").replace(likelihoods)
        (out / "answers.jsonl").replace(answers)  # the last, for it says that all is there
    return read_answers(answers), read_likelihoods(likelihoods) if texts else {}


def read_likelihoods(path: Path) -> dict[str, dict[str, Any]]:
    """id -> {"logprobs", "tokens"} of its texts."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return {row["id"]: {key: row[key] for key in ("logprobs", "tokens")} for row in rows}


def read_answers(path: Path) -> dict[str, str]:
    """id -> answer. A line ends at a newline alone: what a model says may hold any other mark that Python takes for one, and
    a NUL, which PostgreSQL does not store."""
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
    return {row["id"]: row["text"].replace("\0", "\N{REPLACEMENT CHARACTER}") for row in rows}


def job_ended(job: Job) -> None:
    """A sampling that did not succeed is told with its reason, unless a newer push made it pointless."""
    if job.state == Job.State.SUCCEEDED:
        return
    if Run.objects.filter(pk=job.payload.get("run_id", 0), is_superseded=True).exists():
        return
    sampling = Sampling.objects.filter(pk=job.payload.get("sampling_id", 0)).first()
    if sampling is not None:
        sampling_finished.send(Sampling, sampling=sampling, run=None, problem=job.reason)
