"""The candidate of a pull request that makes weights, built twice: target + head + pins, then plus what the run made."""

import hashlib

from django.conf import settings
from django.db import transaction

from hub.accounts.people import hub_account
from hub.common.errors import HubError
from hub.community.candidates import members_of, merge_into_candidate, set_candidate
from hub.community.checks import reset_checks, set_check
from hub.community.models import Check, PullRequest
from hub.repos.commits import create_commit
from hub.storage.git import ANY, AddFile, DeleteFile
from training import runs
from training.engine.lock import parse_lock
from training.models import Run
from training.outputs import output_operations
from training.recipes import RecipeRefused, digest_text, pin, read_recipe, recipe_of, write_lock_text

CHECKS = ("prepare", "train", "evaluate", "screen")
LOCK = "recipe.lock"


def rebuild(pull_request: PullRequest) -> None:
    """Build the inputs candidate for the present target and head, and start what has to run.

    Where the same inputs were run before (the target moved without touching them), the run's outputs are put on the
    new candidate and nothing is trained again."""
    merged = merge_into_candidate(pull_request)
    if merged is None:
        refuse(pull_request, "It conflicts with the target; update the pull request.")
        return
    commit, target = merged
    proposer = pull_request.discussion.author or hub_account()
    try:
        text = recipe_of(pull_request)
        pins = pin(read_recipe(text), proposer)
    except HubError as problem:
        refuse(pull_request, str(problem))
        return
    lock_text = write_lock_text(text, pins, endpoint=settings.PUBLIC_URL)
    recipe_digest, lock_digest = digest_text(text), digest_text(lock_text)
    inputs = commit_pins(pull_request, commit, lock_text, recipe_digest)
    run = Run.objects.filter(
        pull_request=pull_request, lock_digest=lock_digest, state__in=runs.LIVING, is_superseded=False
    ).last()
    if run is not None and run.state == Run.State.SUCCEEDED:
        with transaction.atomic():
            Run.objects.filter(pk=run.pk).update(input_commit=inputs)
        run.refresh_from_db()
        add_outputs(run, target=target)
        return
    set_candidate(pull_request, commit=inputs, target=target, digest=f"git:{members_of(pull_request).tree_id(inputs)}")
    if run is not None:  # still at work on the same inputs: it goes on
        Run.objects.filter(pk=run.pk).update(input_commit=inputs)
        return
    runs.supersede(pull_request)
    reset_checks(pull_request, list(CHECKS), "Its turn comes after the checks before it.")
    runs.create_run(
        pull_request=pull_request, input_commit=inputs, recipe_digest=recipe_digest, lock_digest=lock_digest
    )


def refuse(pull_request: PullRequest, sentence: str) -> None:
    """No candidate: say why where people look."""
    runs.supersede(pull_request)
    reset_checks(pull_request, list(CHECKS), "It cannot start before 'prepare' passes.")
    set_check(pull_request, "prepare", state=Check.State.FAILED, summary=sentence)


def commit_pins(pull_request: PullRequest, merge_commit: str, lock_text: str, recipe_digest: str) -> str:
    """recipe.lock on top of the merge, by the hub's own account."""
    members = members_of(pull_request)
    members.move_ref(pull_request.candidate_ref, merge_commit, ANY)
    revision = create_commit(
        repo=pull_request.discussion.repo,
        by=hub_account(),
        ref=pull_request.candidate_ref,
        operations=[AddFile(LOCK, lock_text.encode())],
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


def add_outputs(run: Run, *, target: str | None = None) -> None:
    """Put weights, lock, card and evaluation results on the inputs candidate. Repeating it changes nothing judged."""
    pull_request = run.pull_request
    if pull_request is None or run.is_superseded:
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
    set_candidate(
        pull_request,
        commit=revision.commit,
        target=target or pull_request.candidate_target,
        digest=candidate_digest(pull_request, run.model_digest),
    )


def read_inputs_lock(run: Run) -> str:
    """The lock of the run's inputs candidate, checked on the way."""
    text = members_of(run.pull_request).read(run.input_commit, LOCK).decode()  # type: ignore[arg-type]
    parse_lock(text)
    return text


__all__ = ["CHECKS", "LOCK", "RecipeRefused", "add_outputs", "candidate_digest", "read_inputs_lock", "rebuild"]
