"""Evaluation of a candidate against its parent on every suite of its recipe."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from hub.accounts.models import User
from hub.common import jobs
from hub.common.jobs import JobRefused, Lease
from hub.common.models import Job
from hub.community.candidates import people_behind
from hub.community.checks import set_check
from hub.community.models import Check, PullRequest
from training.engine.lock import LockedRepository, parse_lock
from training.engine.recipe import parse_recipe
from training.evaluating.contamination import add_contamination
from training.evaluating.judges import arguments_of, lay_out_judges
from training.evaluating.suites import choose_margin, dropped_suites, ignored_margins, newest_evaluations, target_recipe
from training.events import evaluation_finished
from training.models import Evaluation, Run
from training.proposals.candidates import add_outputs
from training.proposals.parents import parent_of, read_inputs_lock
from training.running.inputs import repo_of
from training.workers.materials import lay_out, model_folder
from training.workers.worker import relay, require_success, supervise

EVALUATE_BUDGET_S = 3600
WORDS = {
    "worse": "worse",
    "not_worse": "not worse",
    "insufficient": "too few items to say",
    "": "there is no parent to compare it with",
}


def start(run: Run) -> None:
    """One evaluation for each suite. Without a suite the check passes and says so: the release gate asks for one."""
    pull_request = run.pull_request
    assert pull_request is not None
    lock = parse_lock(read_inputs_lock(run))
    recipe = parse_recipe(lock.recipe)
    dropped = dropped_suites(recipe, pull_request)
    if dropped:
        summary = (
            f"It drops the suite {', '.join(dropped)} of {pull_request.target}; put it back under 'evaluate' in "
            "recipe.yaml, or let somebody with write access propose that it goes."
        )
        set_check(pull_request, "evaluate", state=Check.State.FAILED, summary=summary, digest=run.model_digest)
        return
    if not recipe.evaluate:
        summary = "The recipe names no suite, so nothing was compared; a release will need one."
        set_check(pull_request, "evaluate", state=Check.State.PASSED, summary=summary, digest=run.model_digest)
        return
    parent, known = parent_of(run), target_recipe(pull_request)
    for entry in recipe.evaluate:
        locked = find_suite(lock.repositories, entry.suite.repo, entry.suite.revision)
        margin = choose_margin((entry, locked), known)
        evaluation = Evaluation.objects.create(
            pull_request=pull_request,
            repo=run.repo,
            suite_repo=repo_of(locked),
            suite_name=locked.id,
            suite_commit=locked.commit,
            model_digest=run.model_digest,
            parent_name=f"{parent[0].full_name}@{parent[1]}" if parent else "",
            **({} if margin is None else {"margin": margin}),
        )
        evaluation.job = jobs.enqueue(
            "training.evaluate",
            subject=f"run:{run.pk}",
            budget_s=EVALUATE_BUDGET_S,
            evaluation_id=evaluation.pk,
            run_id=run.pk,
            margin=margin,
        )
        evaluation.save(update_fields=["job"])
    set_check(
        pull_request,
        "evaluate",
        state=Check.State.RUNNING,
        summary="Waiting for a worker to compare it with its parent.",
        digest=run.model_digest,
    )


def find_suite(repositories: tuple[LockedRepository, ...], id: str, revision: str) -> LockedRepository:
    for locked in repositories:
        if locked.type == "dataset" and locked.id.lower() == id.lower() and locked.revision == revision:
            return locked
    raise JobRefused(f"The lock does not pin the suite {id}@{revision}.")


def carry_out(lease: Lease) -> None:
    """Body of training.evaluate."""
    evaluation = Evaluation.objects.select_related("pull_request", "repo", "suite_repo").get(
        pk=lease.payload["evaluation_id"]
    )
    run = Run.objects.select_related("pull_request__discussion", "repo", "proposed_by").get(pk=lease.payload["run_id"])
    if run.is_superseded or run.pull_request is None or evaluation.suite_repo is None:
        raise JobRefused("Newer inputs replaced this run.")
    show(run, Check.State.RUNNING, f"Comparing it with its parent on {evaluation.suite_name}.")
    folder = Path(settings.DATA_DIR) / "runs" / f"evaluation-{evaluation.pk}"
    suite = folder / "suite"
    lay_out(evaluation.suite_repo, evaluation.suite_commit, suite)
    candidate = model_folder(run.repo, run.pull_request.candidate)
    judges = lay_out_judges(suite, *(User.objects.filter(pk__in=people_behind(run.pull_request)).order_by("pk")))
    arguments = ["evaluate", "--suite", str(suite), "--model", str(candidate), "--out", str(folder / "out")]
    arguments += arguments_of(judges)
    if lease.payload.get("margin") is not None:  # else the margins of the suite hold
        arguments += ["--margin", str(lease.payload["margin"])]
    reads = [suite, candidate, *judges.values()]
    parent = parent_of(run)
    if parent is not None:
        parent_folder = model_folder(*parent)
        arguments += ["--parent", str(parent_folder)]
        reads.append(parent_folder)
    outcome = supervise(lease, arguments, own=folder / "out", reads=reads, on_event=relay(lease))
    require_success(outcome)
    results = json.loads((folder / "out" / "evaluation.json").read_text())
    add_contamination(results, run, evaluation.suite_name, evaluation.suite_commit)
    with lease.hold():
        evaluation.results = results
        evaluation.margin = results["overall"]["margin"]
        evaluation.parent_digest = results["parent_digest"] or ""
        evaluation.verdict = sum_up(results)
        evaluation.digest = results["suite_digest"]
        evaluation.finished_at = timezone.now()
        evaluation.save()
    conclude(run)
    evaluation_finished.send(Evaluation, evaluation=evaluation)


def sum_up(results: dict[str, Any]) -> str:
    """worse when any slice or the whole is; else the verdict of the whole; "" when there was no parent."""
    verdicts = {part["verdict"] for part in [*results["slices"], results["overall"]]}
    return "worse" if "worse" in verdicts else results["overall"]["verdict"] or ""


def show(run: Run, state: str, summary: str) -> None:
    run.refresh_from_db(fields=["is_superseded"])
    if run.pull_request is not None and not run.is_superseded:
        set_check(run.pull_request, "evaluate", state=state, summary=summary, evidence={"run": run.pk})


def conclude(run: Run) -> None:
    """When every suite is done: the verdict, and the results onto the candidate."""
    assert run.pull_request is not None
    lock = parse_lock(read_inputs_lock(run))
    newest = newest_evaluations(run, lock)
    if any(row.finished_at is None for row in newest):
        return
    add_outputs(run)
    worse = [row for row in newest if row.verdict == "worse"]
    sentences = [describe(row) for row in newest] + ignored_margins(lock, target_recipe(run.pull_request))
    state = Check.State.FAILED if worse else Check.State.PASSED
    show(run, state, " ".join(sentences))


def describe(evaluation: Evaluation) -> str:
    """One sentence: score beside the parent's, and the verdict in words."""
    overall = evaluation.results.get("overall") or {}
    score, parent = overall.get("score"), overall.get("parent_score")
    bad = [part["slice"] for part in evaluation.results.get("slices", []) if part.get("verdict") == "worse"]
    numbers = f"{score:.3f}" if score is not None else "no overall score"
    if parent is not None:
        numbers += f" against {parent:.3f} of its parent"
    verdict = f"worse in {', '.join(bad)}" if bad else WORDS[evaluation.verdict]
    return f"{evaluation.suite_name}: {numbers} ({verdict})."


def job_ended(job: Job) -> None:
    if job.state == Job.State.SUCCEEDED:
        return
    run = Run.objects.select_related("pull_request__discussion").filter(pk=job.payload.get("run_id", 0)).first()
    if run is not None:
        state = Check.State.CANCELLED if job.state == Job.State.CANCELLED else Check.State.FAILED
        show(run, state, job.reason)


def latest_for(pull_request: PullRequest) -> list[Evaluation]:
    """The newest evaluation of each suite, for pages."""
    rows = Evaluation.objects.filter(pull_request=pull_request).order_by("pk")
    return list({row.suite_name: row for row in rows}.values())
