"""What one person may keep waiting, and what two who press a button at once set going."""

from typing import Any

import pytest

from hub.common import jobs
from hub.common.errors import Conflict
from hub.common.models import Job
from hub.community.checks import set_check
from hub.community.discussions import set_status
from hub.community.models import Check, PullRequest
from tests.beside import at_once
from tests.training.line import Line, checks_of, run_waiting_jobs, summary_of
from training.models import Evaluation, Run
from training.running import runs
from training.running.reruns import rerun_check

TRAIN = "{{method: full, steps: 4, batch_tokens: 256, context_tokens: 128, learning_rate: 0.00001, seed: {seed}}}"


def propose(line: Line, by: Any, *seeds: int) -> list[PullRequest]:
    """Proposals that differ in their seed, as far as their data is prepared next."""
    made = [line.propose(by, train=TRAIN.format(seed=seed)) for seed in seeds]
    run_waiting_jobs(kinds=("training.rebuild",))
    return made


def test_nobody_has_the_data_of_any_number_of_proposals_prepared_at_once(
    line: Line, charlie: Any, settings: Any
) -> None:
    """Only trainings had a bound: two hundred proposals of one person were fifty hours of preparing for everybody."""
    settings.PREPARATIONS_AT_ONCE = 2
    first, second, third = propose(line, charlie.user, 1, 2, 3)
    assert [checks_of(one)["prepare"] for one in (first, second, third)] == ["running", "running", "failed"]
    sentence = summary_of(third, "prepare")
    assert "The data of 2 proposals by charlie is being prepared or waits for it, and at most 2 may at once" in sentence
    assert "press 'Run again' when one is through" in sentence
    assert Run.objects.count() == 2 and checks_of(third)["train"] == "waiting"
    (other,) = propose(line, line.bob, 4)
    assert checks_of(other)["prepare"] == "running"  # what another has waiting is not counted
    set_status(discussion=first.discussion, by=charlie.user, status="closed")
    rerun_check(pull_request=third, name="prepare", by=charlie.user)
    run_waiting_jobs(kinds=("training.rebuild",))
    assert checks_of(third)["prepare"] == "running"


def test_a_push_to_ones_own_proposal_takes_the_place_of_what_it_replaces(
    line: Line, charlie: Any, settings: Any
) -> None:
    settings.PREPARATIONS_AT_ONCE = 1
    (pull_request,) = propose(line, charlie.user, 1)
    Run.objects.update(lock_digest="sha256:other")  # as if the inputs had been others
    jobs.enqueue("training.rebuild", subject=f"pull:{pull_request.pk}", pull_request_id=pull_request.pk)
    run_waiting_jobs(kinds=("training.rebuild",))
    assert checks_of(pull_request)["prepare"] == "running"
    assert list(Run.objects.order_by("pk").values_list("is_superseded", flat=True)) == [True, False]


def test_preparing_again_is_bounded_too_and_operators_have_no_bound(line: Line, charlie: Any, settings: Any) -> None:
    settings.PREPARATIONS_AT_ONCE = 2
    first, _ = propose(line, charlie.user, 1, 2)
    run = Run.objects.get(pull_request=first)
    runs.cancel_run(run=run, by=charlie.user)
    propose(line, charlie.user, 3)
    run.refresh_from_db()
    with pytest.raises(Conflict, match="2 proposals by charlie"):
        runs.rerun(run=run, by=charlie.user)
    run.refresh_from_db()
    assert run.state == Run.State.CANCELLED and run.finished_at is not None
    charlie.user.is_staff = True
    charlie.user.save()
    assert runs.rerun(run=Run.objects.get(pk=run.pk), by=charlie.user).state == Run.State.PREPARING


@pytest.mark.parametrize(("name", "kind"), [("evaluate", "training.evaluate"), ("screen", "training.sample")])
def test_two_who_press_run_again_at_once_start_it_once(line: Line, name: str, kind: str) -> None:
    """On PostgreSQL, where writers do not wait for each other, both found a failed check and started an evaluation."""
    (pull_request,) = propose(line, line.alice, 1)
    Run.objects.update(state=Run.State.SUCCEEDED, model_digest="sha256:1")
    set_check(pull_request, name, state=Check.State.FAILED, summary="It broke.")

    def press(by: Any) -> None:
        rerun_check(pull_request=PullRequest.objects.get(pk=pull_request.pk), name=name, by=by)

    results = at_once(lambda: press(line.alice), lambda: press(line.bob))
    assert [type(result) for result in results if result is not None] == [Conflict]
    assert "only a failed one runs again" in str([*filter(None, results)][0])
    assert Job.objects.filter(kind=kind).count() == 1 and checks_of(pull_request)[name] == "running"
    assert Evaluation.objects.count() == (name == "evaluate")
