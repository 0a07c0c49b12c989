"""A run proposed once more: the same recipe as a new proposal, to be changed or carried out as it was."""

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict
from hub.community.models import PullRequest
from training.models import Run
from training.proposals.recipes import propose
from training.running.overview import read_lock_of


def recipe_of(run: Run) -> str:
    """The recipe as it was carried out. Raises Conflict where its pins were never written."""
    lock = read_lock_of(run)
    if lock is None:
        raise Conflict(f"Run {run.pk} never had a recipe that could be carried out; write one anew.")
    return lock.recipe


def clone_run(*, run: Run, by: User, title: str = "") -> PullRequest:
    """`run` is one that `by` may see. Names of branches in it are looked up anew, so newer data may come in."""
    require(by, "propose", run.repo)
    made = propose(
        repo=run.repo,
        by=by,
        recipe_text=recipe_of(run),
        title=title or f"Do run {run.pk} again",
        description=f"The recipe of [run {run.pk}](/runs/{run.pk}).",
        door="rest",
    )
    assert made.pull_request is not None
    return made.pull_request
