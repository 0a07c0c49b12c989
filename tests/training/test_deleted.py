"""Nobody trains for a repository that nobody sees."""

from typing import Any

import pytest

from tests.hub.scenes import make_repo
from training.models import Run

pytestmark = pytest.mark.django_db


def test_a_run_that_waits_is_stopped_with_its_repository_and_stays_to_be_started_again(alice: Any) -> None:
    from hub.repos.deleted import restore_repo
    from hub.repos.lifecycle import delete_repo

    repo = make_repo(alice.user, "model", type="model")
    waiting = Run.objects.create(repo=repo, input_commit=repo.head, recipe_digest="sha256:0", state=Run.State.HELD)
    done = Run.objects.create(repo=repo, input_commit=repo.head, recipe_digest="sha256:0", state=Run.State.SUCCEEDED)
    delete_repo(repo=repo, by=alice.user)
    restore_repo(repo=repo, by=alice.user)
    waiting.refresh_from_db(), done.refresh_from_db()
    assert (waiting.state, waiting.reason) == (Run.State.CANCELLED, "Its repository was deleted.")
    assert done.state == Run.State.SUCCEEDED
