"""The model that a candidate is compared with, and whether it still is the one it would replace."""

from django.db.models import QuerySet

from hub.community.candidates import members_of, target_head
from hub.repos.models import Repo
from training.engine.lock import find_repository, parse_lock
from training.engine.recipe import parse_recipe
from training.models import Evaluation, Run
from training.running.inputs import repo_of
from training.workers.materials import has_model, weights_of

LOCK = "recipe.lock"


def read_inputs_lock(run: Run) -> str:
    """The lock of the run's inputs candidate, checked on the way."""
    text = members_of(run.pull_request).read(run.input_commit, LOCK).decode()  # type: ignore[arg-type]
    parse_lock(text)
    return text


def parent_of(run: Run) -> tuple[Repo, str] | None:
    """The model that the candidate is compared with: the target's own, else what the recipe starts from."""
    pull_request = run.pull_request
    assert pull_request is not None
    head = target_head(pull_request)
    if head and has_model(run.repo, head):
        return run.repo, head
    lock = parse_lock(read_inputs_lock(run))
    base = parse_recipe(lock.recipe).base
    if base is None:
        return None
    locked = find_repository(lock, "model", base.repo, base.revision)
    return repo_of(locked), locked.commit


def has_new_parent(run: Run) -> bool:
    """Whether the candidate was compared with other weights than those that it would replace now."""
    parent = parent_of(run)
    compared = run_evaluations(run).values_list("parent_name", flat=True).first()
    if parent is None or compared is None:
        return False
    repo, commit = parent
    before_name, _, before = compared.partition("@")
    return before_name != repo.full_name or weights_of(repo, before) != weights_of(repo, commit)


def run_evaluations(run: Run) -> QuerySet[Evaluation]:
    """Newest first."""
    return Evaluation.objects.filter(pull_request=run.pull_request, model_digest=run.model_digest).order_by("-pk")
