"""Training listens to pull requests: what makes weights gets a candidate with pins and a run."""

from typing import Any

from django.dispatch import receiver

from hub.community.events import pull_request_updated
from hub.community.models import PullRequest
from hub.repos.events import history_purged, history_purging, repo_deleting
from hub.repos.models import Repo
from hub.repos.purge_models import Purge
from training.models import Evaluation, Run
from training.proposals.candidates import CHECKS, queue_rebuild
from training.running import runs
from training.workers.materials import forget_revisions


@receiver(pull_request_updated)
def follow_pull_request(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    if reason == "closed":
        runs.supersede(pull_request)
    elif reason != "merged" and pull_request.is_trained:
        queue_rebuild(pull_request)
    elif reason == "pushed" and Run.objects.filter(pull_request=pull_request, is_superseded=False).exists():
        runs.supersede(pull_request)  # the push took the change of the recipe back: nothing is to be trained
        pull_request.checks.filter(name__in=CHECKS).delete()


@receiver(repo_deleting)
def stop_with_repo(sender: type, repo: Repo, **_: Any) -> None:
    """Nobody trains for what nobody sees; who brings the repository back starts them again."""
    living = (Run.State.HELD, Run.State.PREPARING, Run.State.TRAINING)
    for run in Run.objects.filter(repo=repo, state__in=living):
        runs.stop(run, "Its repository was deleted.")


@receiver(history_purging)
def move_pins(sender: type, repo: Repo, commits: dict[str, str], **_: Any) -> None:
    """Runs of the repository and evaluations on it go on from the commits that stand in place of the purged ones. What
    another repository has pinned in its lock stays as it was written; a replay says what became of the commit."""
    for row in Run.objects.filter(repo=repo).only("pk", "input_commit"):
        if row.input_commit in commits:
            Run.objects.filter(pk=row.pk).update(input_commit=commits[row.input_commit])
    for suite in Evaluation.objects.filter(suite_repo=repo).only("pk", "suite_commit"):
        if suite.suite_commit in commits:
            Evaluation.objects.filter(pk=suite.pk).update(suite_commit=commits[suite.suite_commit])
    for judged in Evaluation.objects.filter(repo=repo).exclude(commit="").only("pk", "commit"):
        if judged.commit in commits:
            Evaluation.objects.filter(pk=judged.pk).update(commit=commits[judged.commit])


@receiver(history_purged)
def forget_copies(sender: type, purge: Purge, repo: Repo, commits: dict[str, str], **_: Any) -> None:
    forget_revisions(repo, list(commits), purge.files)
