"""One check of a proposal, carried out again."""

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, InvalidInput
from hub.community.candidates import is_open
from hub.community.checks import set_check
from hub.community.models import Check, PullRequest
from training.evaluating import evaluations
from training.events import candidate_trained
from training.models import Run
from training.proposals.candidates import CHECKS, queue_rebuild
from training.running import runs

AGAIN = (Check.State.FAILED, Check.State.CANCELLED)


@transaction.atomic
def rerun_check(*, pull_request: PullRequest, name: str, by: User) -> None:
    """Carry out prepare, train, evaluate or screen again after it failed or was cancelled.

    Its proposer may ask for what is on the house; the rest spends the repository's budget."""
    repo = pull_request.discussion.repo
    require(by, "propose", repo)
    run = lock_newest_run(pull_request)
    # After the run, as a job that ends does; of two who press the button at once, the second finds the check running.
    check = pull_request.checks.select_for_update().filter(name=name).first()
    if check is None or name not in CHECKS:
        raise InvalidInput(f"There is no check '{name}' that could run again; there are {', '.join(CHECKS)}.")
    if not is_open(pull_request):
        raise Conflict(f"Pull request {pull_request} is {pull_request.discussion.status}; its checks are history.")
    if check.state not in AGAIN:
        raise Conflict(f"The check '{name}' {check.get_state_display().lower()}; only a failed one runs again.")
    if run is None:  # its inputs were refused: look at them again
        if pull_request.discussion.author_id != by.pk:
            require(by, "run", repo)
        set_check(pull_request, name, state=Check.State.RUNNING, summary="Looking at the recipe and its inputs again.")
        queue_rebuild(pull_request)
    elif name in ("prepare", "train"):
        runs.rerun(run=run, by=by)
    else:
        require(by, "run", repo)
        if run.state != Run.State.SUCCEEDED:
            raise Conflict(f"The check '{name}' needs trained weights; run 'train' first.")
        if name == "evaluate":
            evaluations.start(run)
        else:
            candidate_trained.send(Run, run=run, pull_request=pull_request)


def lock_newest_run(pull_request: PullRequest) -> Run | None:
    run = Run.objects.filter(pull_request=pull_request, is_superseded=False).last()
    if run is None:
        return None
    runs.lock_jobs(run)
    return Run.objects.select_for_update().get(pk=run.pk)
