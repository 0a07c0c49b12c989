"""Training listens to pull requests: what makes weights gets a candidate with pins and a run."""

from typing import Any

from django.dispatch import receiver

from hub.common.jobs import enqueue
from hub.community.events import pull_request_updated
from hub.community.models import PullRequest
from hub.repos.events import repo_deleting
from hub.repos.models import Repo
from training import runs
from training.candidates import CHECKS
from training.models import Run


@receiver(pull_request_updated)
def follow_pull_request(sender: type, pull_request: PullRequest, reason: str, **_: Any) -> None:
    if reason == "closed":
        runs.supersede(pull_request)
    elif reason != "merged" and pull_request.is_trained:
        enqueue("training.rebuild", subject=f"pull:{pull_request.pk}", pull_request_id=pull_request.pk)
    elif reason == "pushed" and Run.objects.filter(pull_request=pull_request, is_superseded=False).exists():
        runs.supersede(pull_request)  # the push took the change of the recipe back: nothing is to be trained
        pull_request.checks.filter(name__in=CHECKS).delete()


@receiver(repo_deleting)
def stop_with_repo(sender: type, repo: Repo, **_: Any) -> None:
    """Nobody trains for what nobody sees; who brings the repository back starts them again."""
    living = (Run.State.HELD, Run.State.PREPARING, Run.State.TRAINING)
    for run in Run.objects.filter(repo=repo, state__in=living):
        runs.stop(run, "Its repository was deleted.")
