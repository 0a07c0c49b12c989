"""The candidate of a pull request that makes weights, built twice: target + head + pins, then plus what the run made."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from hub.accounts.people import hub_account
from hub.common.errors import Conflict, HubError
from hub.common.jobs import enqueue
from hub.common.models import Job
from hub.community.candidates import RECIPE, is_in_target, is_open, members_of, merge_into_candidate, set_candidate
from hub.community.checks import reset_checks, set_check
from hub.community.models import Check, Discussion, PullRequest
from hub.community.pull_requests import is_candidate_current
from hub.repos.commits import create_commit
from hub.storage.git import ANY, AddFile, DeleteFile
from training.models import Run
from training.proposals.joins import RecipeMerger, candidate_recipe
from training.proposals.parents import LOCK, has_new_parent
from training.proposals.recipes import digest_text, pin_for_all, read_recipe, write_lock_text
from training.proposals.suite_checks import check_suites
from training.running import runs
from training.running.outputs import output_operations

NEW_PARENT = "The target has other weights now; it is compared with them next."
NEEDS_PUSH = {"needs_push": True}  # of a check: looking again finds the same until somebody pushes
CHECKS = ("prepare", "train", "evaluate", "screen")


@contextmanager
def one_builder(pull_request: PullRequest) -> Iterator[None]:
    """Candidates of one pull request are built one after another: a push, a moved target and a finished run may come
    at the same moment. The system lets go of the lock when the process dies."""
    path = Path(settings.DATA_DIR) / "runs" / "locks" / f"pull-{pull_request.pk}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        pull_request.refresh_from_db()
        pull_request.discussion.refresh_from_db()
        yield


def queue_rebuild(pull_request: PullRequest) -> None:
    """On the house; its author's name stands on it so that each person's wait in a line of their own (hub.common.jobs.turns)."""
    enqueue(
        "training.rebuild",
        subject=f"pull:{pull_request.pk}",
        charged_to=pull_request.discussion.author,
        pull_request_id=pull_request.pk,
    )


def rebuild(pull_request: PullRequest) -> Run | None:
    """Build the inputs candidate for the present target and head, and start what has to run.

    Where the same inputs were run before (the target moved without touching them), the run's outputs are put on the
    new candidate and nothing is trained again: that run is returned."""
    with one_builder(pull_request):
        if is_open(pull_request) and pull_request.is_trained:
            return build_inputs(pull_request)
    return None


def build_inputs(pull_request: PullRequest) -> Run | None:
    merger = RecipeMerger(pull_request.discussion.repo.full_name, pull_request.target)
    merged = merge_into_candidate(pull_request, resolve=merger)
    if merged is None:
        files = ", ".join(pull_request.conflict_paths[:5])
        refuse(
            pull_request,
            merger.problem or f"It conflicts with {pull_request.target} in {files}; update the pull request.",
        )
        return None
    commit, target = merged
    try:
        text = candidate_recipe(pull_request, commit, target)
        recipe = read_recipe(text)
    except HubError as problem:
        refuse(pull_request, str(problem), **NEEDS_PUSH)
        return None
    try:
        pins = pin_for_all(recipe, pull_request)
        check_suites(recipe, pins)
    except HubError as problem:
        refuse(pull_request, str(problem))
        return None
    lock_text = write_lock_text(text, pins, endpoint=settings.PUBLIC_URL)
    # Without the hub's address: the same inputs are the same, whatever port the site has today.
    recipe_digest, lock_digest = digest_text(text), digest_text(write_lock_text(text, pins))
    inputs = commit_pins(pull_request, commit, {RECIPE: text, LOCK: lock_text}, recipe_digest)
    run = living_run(pull_request, lock_digest)
    if run is not None and run.state == Run.State.SUCCEEDED:
        Run.objects.filter(pk=run.pk).update(input_commit=inputs)
        run.refresh_from_db()
        if has_new_parent(run):  # said before the candidate can be merged: a crash must not leave a moment between
            for name in ("evaluate", "screen"):
                set_check(pull_request, name, state=Check.State.WAITING, summary=NEW_PARENT)
        put_outputs(run, pull_request, target)
        return run
    set_candidate(pull_request, commit=inputs, target=target, digest=f"git:{members_of(pull_request).tree_id(inputs)}")
    if run is not None:  # at work on the same inputs: it goes on
        Run.objects.filter(pk=run.pk).update(input_commit=inputs)
        return None
    try:
        begin_run(pull_request, input_commit=inputs, recipe_digest=recipe_digest, lock_digest=lock_digest)
    except Conflict as problem:  # its proposer has too many of them
        refuse(pull_request, str(problem))
    return None


@transaction.atomic
def begin_run(pull_request: PullRequest, **inputs: str) -> None:
    runs.supersede(pull_request)
    reset_checks(pull_request, list(CHECKS), "Its turn comes after the checks before it.")
    runs.create_run(pull_request=pull_request, **inputs)


def rebuild_ended(job: Job) -> None:
    """on_end of a rebuild: what broke is said where people look, beside the button that tries again."""
    if job.state == Job.State.SUCCEEDED:
        return
    pull_request = open_trained().filter(pk=job.payload.get("pull_request_id", 0)).first()
    if pull_request is None or Run.objects.filter(pull_request=pull_request, is_superseded=False).exists():
        return  # with a run at work or done, its checks speak; the candidate is tried again (forgotten_rebuilds)
    reset_checks(pull_request, list(CHECKS), "It cannot start before 'prepare' passes.")
    set_check(pull_request, "prepare", state=Check.State.FAILED, summary=job.reason)


def forgotten_rebuilds() -> list[PullRequest]:
    """Open pull requests whose candidate is not current since its last rebuild broke."""
    found = []
    for pull_request in open_trained():
        last = (
            Job.objects.filter(kind="training.rebuild", subject=f"pull:{pull_request.pk}").order_by("created_at").last()
        )
        broke = last is not None and last.state in (Job.State.FAILED, Job.State.CANCELLED)
        if broke and not is_in_target(pull_request) and not is_candidate_current(pull_request):
            found.append(pull_request)
    return found


def open_trained() -> QuerySet[PullRequest]:
    rows = PullRequest.objects.select_related("discussion__repo", "discussion__author")
    return rows.filter(is_trained=True, discussion__status__in=(Discussion.Status.OPEN, Discussion.Status.DRAFT))


def living_run(pull_request: PullRequest, lock_digest: str) -> Run | None:
    """The run of exactly these inputs that is waiting, at work or done."""
    rows = Run.objects.filter(
        pull_request=pull_request, lock_digest=lock_digest, state__in=runs.LIVING, is_superseded=False
    )
    return rows.last()


def refuse(pull_request: PullRequest, sentence: str, **evidence: Any) -> None:
    """No candidate: say why where people look. `evidence` NEEDS_PUSH: the recipe itself is wrong."""
    runs.supersede(pull_request)
    reset_checks(pull_request, list(CHECKS), "It cannot start before 'prepare' passes.")
    set_check(pull_request, "prepare", state=Check.State.FAILED, summary=sentence, evidence=evidence)


def commit_pins(pull_request: PullRequest, merge_commit: str, files: dict[str, str], recipe_digest: str) -> str:
    """The numbered recipe and its lock on top of the merge, by the hub's own account."""
    members = members_of(pull_request)
    members.move_ref(pull_request.candidate_ref, merge_commit, ANY)
    revision = create_commit(
        repo=pull_request.discussion.repo,
        by=hub_account(),
        ref=pull_request.candidate_ref,
        operations=[AddFile(path, text.encode()) for path, text in files.items()],
        title=f"Pin the inputs of pull request #{pull_request.discussion.number}",
        expected_parent=merge_commit,
        door="hub",
        trailers={"Recipe-Digest": recipe_digest},
    )
    return revision.commit


def candidate_digest(pull_request: PullRequest, model_digest: str) -> str:
    """What approvals bind to: the head that was proposed and the weights that came out."""
    text = f"{pull_request.head}\n{model_digest}\n"
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def add_outputs(run: Run) -> None:
    """Put weights, lock, card and evaluation results on the inputs candidate. Repeating it changes nothing judged."""
    if run.pull_request is None:
        return
    with one_builder(run.pull_request):
        put_outputs(run, run.pull_request, run.pull_request.candidate_target)


def put_outputs(run: Run, pull_request: PullRequest, target: str) -> None:
    run.refresh_from_db()
    if run.is_superseded or not is_open(pull_request):
        return
    members = members_of(pull_request)
    members.move_ref(pull_request.candidate_ref, run.input_commit, ANY)
    operations = output_operations(run)
    kept = {operation.path for operation in operations if not isinstance(operation, DeleteFile)}
    for entry in members.tree(run.input_commit):
        if entry.path.endswith((".safetensors", ".safetensors.index.json")) and entry.path not in kept:
            operations.append(DeleteFile(entry.path))  # shards of the model before
    revision = create_commit(
        repo=run.repo,
        by=hub_account(),
        ref=pull_request.candidate_ref,
        operations=operations,
        title=f"Add the weights that pull request #{pull_request.discussion.number} makes",
        expected_parent=run.input_commit,
        door="hub",
        trailers={"Run": str(run.pk), "Recipe-Digest": run.recipe_digest, "Model-Digest": run.model_digest},
    )
    digest = candidate_digest(pull_request, run.model_digest)
    set_candidate(pull_request, commit=revision.commit, target=target, digest=digest)
