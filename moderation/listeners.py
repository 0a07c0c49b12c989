"""moderation listens to what the rooms below announce."""

from typing import Any

from django.dispatch import receiver

from hub.repos.events import revision_created
from hub.repos.models import Content, Revision
from moderation import outputs
from moderation.screening import screen_quickly
from training.events import candidate_trained, sampling_finished
from training.models import Run, Sampling


@receiver(revision_created)
def screen_new_content(sender: type, revision: Revision, contents: list[Content], **_: Any) -> None:
    screen_quickly(revision, contents)


@receiver(candidate_trained)
def sample_candidate(sender: type, run: Run, **_: Any) -> None:
    outputs.start(run)


@receiver(sampling_finished)
def judge_samples(sender: type, sampling: Sampling, run: Run | None, problem: str = "", **_: Any) -> None:
    if run is None:
        outputs.could_not(sampling, problem)
    else:
        outputs.judge(sampling, run)
