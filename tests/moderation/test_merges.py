"""What may be called merged: a candidate that was judged as it stands, moved by the merge and by nothing else."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.moderation.scenes import CONFIG, Workshop, bring, weights

pytestmark = pytest.mark.django_db(transaction=True)


def judge(workshop: Workshop, pull_request: Any, folder: Path) -> Any:
    """Trained, evaluated, screened and approved."""
    from hub.community.reviews import review

    run = workshop.train(pull_request, folder)
    workshop.evaluate(run)
    workshop.sample(run)
    pull_request.refresh_from_db()
    review(pull_request=pull_request, by=workshop.helper, verdict="approve", digest=pull_request.candidate_digest)
    return run


def test_nobody_merges_what_was_compared_with_weights_that_are_gone(workshop: Workshop, tmp_path: Path) -> None:
    """Main gets other weights while an approved proposal waits, and the worker dies after it put the proposal's weights
    on the new candidate, before it asked for their comparison with the new parent."""
    from hub.common import jobs
    from hub.common.errors import Conflict
    from hub.common.models import Job
    from hub.community.pull_requests import merge
    from training.proposals.candidates import rebuild

    pull_request = workshop.propose()
    judge(workshop, pull_request, tmp_path)
    bring(workshop.model, workshop.helper, {"old.safetensors": weights(9), "config.json": CONFIG})
    pull_request.refresh_from_db()
    assert rebuild(pull_request) is not None
    pull_request.refresh_from_db()
    with pytest.raises(Conflict, match="it is compared with them next"):
        merge(pull_request=pull_request, by=workshop.owner)
    # The job is taken over and goes on where the first attempt ended.
    job = Job.objects.filter(kind="training.rebuild", subject=f"pull:{pull_request.pk}").latest("created_at")
    jobs.run(str(job.pk))
    assert Job.objects.filter(kind="training.evaluate", state=Job.State.WAITING).count() == 1
    assert Job.objects.filter(kind="training.sample", state=Job.State.WAITING).count() == 1


def test_a_candidate_that_somebody_pushed_to_main_is_not_called_merged(
    workshop: Workshop, bob: Any, tmp_path: Path
) -> None:
    """Bob moves main to the unapproved candidate by git, and a write of his own hangs long enough to be cleaned up."""
    from django.utils import timezone

    from hub.community.interrupted import finish_interrupted
    from hub.repos.commits import move_ref, reconcile
    from hub.repos.models import PendingWrite
    from hub.repos.places import pair

    pull_request = workshop.propose()
    run = workshop.train(pull_request, tmp_path)
    workshop.evaluate(run)
    workshop.sample(run)
    pull_request.refresh_from_db()
    old = pair(workshop.model).members.read_ref("refs/heads/main")
    move_ref(
        repo=workshop.model, ref="refs/heads/main", new=pull_request.candidate, expected=old, by=bob.user, door="git"
    )
    note = PendingWrite.objects.create(repo=workshop.model, ref="refs/heads/main", by=bob.user, door="git")
    PendingWrite.objects.filter(pk=note.pk).update(at=timezone.now() - timedelta(seconds=120))
    finish_interrupted(reconcile(older_than_s=60))
    pull_request.discussion.refresh_from_db()
    assert pull_request.discussion.status == "open"
