"""Evaluation of a commit of a model on a suite, without proposal and parent: a published release, put to the tests that
reports became."""

import json
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import RevisionNotFound
from hub.common.jobs import JobRefused, Lease
from hub.common.models import Job
from hub.community.listeners import notify, owners_of
from hub.repos.models import Repo
from training.evaluating.evaluations import EVALUATE_BUDGET_S
from training.evaluating.judges import arguments_of, lay_out_judges
from training.events import evaluation_finished
from training.models import Evaluation
from training.workers.materials import has_model, lay_out, model_folder
from training.workers.worker import relay, require_success, supervise


def start(*, repo: Repo, commit: str, suite: Repo) -> Evaluation:
    """Queue it, for the suite as its members have it now. In the caller's transaction."""
    evaluation = Evaluation.objects.create(
        repo=repo, commit=commit, suite_repo=suite, suite_name=suite.full_name, suite_commit=suite.head
    )
    evaluation.job = jobs.enqueue(
        "training.evaluate_commit",
        subject=f"evaluation:{evaluation.pk}",
        budget_s=EVALUATE_BUDGET_S,
        evaluation_id=evaluation.pk,
    )
    evaluation.save(update_fields=["job"])
    return evaluation


def carry_out(lease: Lease) -> None:
    """Body of training.evaluate_commit."""
    evaluation = Evaluation.objects.select_related("repo", "suite_repo").get(pk=lease.payload["evaluation_id"])
    suite = evaluation.suite_repo
    if suite is None or suite.deleted_at is not None or evaluation.repo.deleted_at is not None:
        raise JobRefused("The suite or the model was deleted.")
    folder = Path(settings.DATA_DIR) / "runs" / f"evaluation-{evaluation.pk}"
    try:
        lay_out(suite, evaluation.suite_commit, folder / "suite")
        if not has_model(evaluation.repo, evaluation.commit):
            raise JobRefused(f"{evaluation.repo.full_name} holds no weights at {evaluation.commit[:7]}.")
        model = model_folder(evaluation.repo, evaluation.commit)
    except RevisionNotFound as problem:
        raise JobRefused(problem.message) from None
    judges = lay_out_judges(folder / "suite", None)  # nobody in particular asked for it
    arguments = ["evaluate", "--suite", str(folder / "suite"), "--model", str(model), "--out", str(folder / "out")]
    arguments += arguments_of(judges)
    reads = [folder / "suite", model, *judges.values()]
    require_success(supervise(lease, arguments, own=folder / "out", reads=reads, on_event=relay(lease)))
    results = json.loads((folder / "out" / "evaluation.json").read_text())
    with lease.hold():
        evaluation.results = results
        evaluation.model_digest = results["model_digest"]
        evaluation.digest = results["suite_digest"]
        evaluation.finished_at = timezone.now()
        evaluation.save()
        evaluation_finished.send(Evaluation, evaluation=evaluation)


def job_ended(job: Job) -> None:
    """What could not be run is said to those who can mend it: nobody else is watching."""
    evaluation = Evaluation.objects.select_related("repo").filter(pk=job.payload.get("evaluation_id", 0)).first()
    if evaluation is None or job.state == Job.State.SUCCEEDED:
        return
    text = f"{evaluation.repo} at {evaluation.commit[:7]} could not be put to {evaluation.suite_name}: {job.reason}"
    notify(owners_of(evaluation.repo), text, evaluation.repo.path)
