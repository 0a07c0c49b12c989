"""What can go wrong with a trainer, a disk, a worker or the queue: each ends in a sentence, one result, and the right bill.

Programs that act as the engine stand in for it; test_runs_survive.py does the same to the engine itself."""

import fcntl
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.jobs import JobRetry
from hub.common.models import Job, JobEvent
from tests.beside import at_once
from tests.training.line import Line, checks_of, run_waiting_jobs, summary_of
from tests.training.stand_in import FINISH, act_as_engine, prepared_run
from training import tasks
from training.models import Checkpoint, LedgerEntry, Run
from training.running import runs
from training.tasks import run_folder
from training.workers import worker
from training.workers.worker import Outcome, require_success

ROWS = '(out / "plan.json").write_text(json.dumps({"plan": {"rows_per_pass": %d}}))\n'
KILLED_BY_SYSTEM = """\
(out.parent / "vmstat").write_text("oom_kill 8\\n")
os.kill(os.getpid(), signal.SIGKILL)
"""
SAYS_OUT_OF_MEMORY = 'say("error", code="crash", message="OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB")\nsys.exit(1)\n'
DISK_FULL = 'say("error", code="crash", message="OSError: [Errno 28] No space left on device")\nsys.exit(1)\n'
DISK_FULL_BELOW = (
    'sys.stderr.write("SafetensorError: I/O error: No space left on device (os error 28)\\n")\nsys.exit(1)\n'
)
DIVERGED = """\
message = "The loss became nan at step 7; use a smaller learning_rate"
say("error", code="diverged", message=message, hint="use a smaller learning_rate")
sys.exit(2)
"""


@pytest.fixture
def run(line: Line) -> Run:
    return prepared_run(line)


def work(run: Run) -> Job:
    """One attempt, as soon as the pause after the last one is over."""
    run.refresh_from_db()
    Job.objects.filter(pk=run.train_job_id).update(not_before=None)
    jobs.run(str(run.train_job_id))
    run.refresh_from_db()
    return Job.objects.get(pk=run.train_job_id)


def bill(line: Line) -> list[tuple[str, bool]]:
    return [(row.kind, row.seconds > 0) for row in LedgerEntry.objects.filter(user=line.alice)]


def rows_at_once(run: Run) -> int:
    return int(json.loads((run_folder(run) / "out" / "plan.json").read_text())["plan"]["rows_per_pass"])


def starts(run: Run) -> int:
    return len((run_folder(run) / "starts").read_text().splitlines())


# --- memory


@pytest.mark.parametrize("ends", [KILLED_BY_SYSTEM, SAYS_OUT_OF_MEMORY], ids=["by the system", "by its own word"])
def test_a_trainer_out_of_memory_goes_on_with_fewer_rows_at_once_and_says_so(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ends: str
) -> None:
    count = run_folder(run) / "vmstat"
    count.parent.mkdir(parents=True, exist_ok=True)
    count.write_text("oom_kill 7\n")
    monkeypatch.setattr("training.workers.memory.KERNEL_COUNTS", (tmp_path / "no such file", count))
    act_as_engine(monkeypatch, ROWS % 4 + ends, FINISH)
    job = work(run)
    words = "ran out of memory. It goes on with 2 instead of 4 rows at once"
    assert (job.state, run.state) == ("waiting", Run.State.TRAINING) and words in job.reason
    assert rows_at_once(run) == 2
    job = work(run)
    assert (job.state, run.state, job.attempt) == ("succeeded", Run.State.SUCCEEDED, 2)
    assert words in JobEvent.objects.get(job=job, kind="warning").data["message"]  # and says so for good
    assert bill(line) == [("settled", True)]


def test_a_trainer_that_cannot_be_made_smaller_ends_with_what_to_change(
    run: Run, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENGINE_MEMORY_BYTES = 1_000_000  # less than any program
    monkeypatch.setattr("training.workers.memory.MEMORY_LOOK_S", 0.0)
    act_as_engine(monkeypatch, "import time; time.sleep(60)\n")
    plan = run_folder(run) / "out" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text(json.dumps({"plan": {"rows_per_pass": 2}}))
    job = work(run)
    assert job.state == "waiting" and "more memory than the 0.0 GB it may use here. It goes on with 1" in job.reason
    job = work(run)
    assert (job.state, run.state) == ("failed", Run.State.FAILED)
    assert "train.batch_tokens" in run.reason and "tried again" not in run.reason


def test_a_kill_by_hand_is_no_want_of_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    act_as_engine(monkeypatch, ROWS % 4 + "os.kill(os.getpid(), signal.SIGKILL)\n", FINISH)
    monkeypatch.setattr("training.workers.memory.KERNEL_COUNTS", ())
    job = work(run)
    assert job.state == "waiting" and "stopped with code -9" in job.reason and rows_at_once(run) == 4
    assert work(run).state == "succeeded"


# --- numbers that explode, disks that are full


def test_a_loss_that_explodes_ends_the_run_at_once_with_the_engines_sentence(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_engine(monkeypatch, DIVERGED)
    job = work(run)
    assert (job.state, job.attempt, run.state) == ("failed", 1, Run.State.FAILED)
    assert run.reason == "The loss became nan at step 7; use a smaller learning_rate"
    assert checks_of(run.pull_request)["train"] == "failed" and bill(line) == [("settled", True)]


@pytest.mark.parametrize("ends", [DISK_FULL, DISK_FULL_BELOW], ids=["in Python", "in a library"])
def test_a_full_disk_is_said_and_waited_for(run: Run, line: Line, monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    act_as_engine(monkeypatch, ends, FINISH)
    job = work(run)
    assert job.state == "waiting" and job.reason.startswith("The disk of this hub is full; its operator")
    assert job.not_before is not None and job.not_before > timezone.now() + timedelta(minutes=4)
    assert run.state == Run.State.TRAINING and bill(line) == []
    assert work(run).state == "succeeded"


def test_a_disk_that_is_full_for_the_hub_itself_is_waited_for_too(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.tasks.write_inputs", fail)
    Job.objects.filter(pk=run.train_job_id).update(attempt=3)
    for state in ("waiting", "failed"):
        job = work(run)
        assert job.state == state and "The disk of this hub is full" in job.reason
    assert (run.state, bill(line)) == (Run.State.FAILED, [("refunded", False)])


# --- workers


def test_of_two_workers_with_one_training_one_trains_and_there_is_one_result_and_one_bill(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_engine(monkeypatch, FINISH)
    assert at_once(*[lambda: jobs.run(str(run.train_job_id))] * 3) == [None] * 3
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED and starts(run) == 1, run.train_job.reason
    assert run.result["tokens"] == 1024 and Checkpoint.objects.get(run=run).is_final
    assert bill(line) == [("settled", True)]
    jobs.run(str(run.train_job_id))  # the message comes once more, hours later
    assert starts(run) == 1 and bill(line) == [("settled", True)]


def test_a_second_trainer_does_not_write_beside_one_that_is_still_ending(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_engine(monkeypatch, FINISH)
    monkeypatch.setattr(worker, "LOCK_WAIT_S", 0)
    held = run_folder(run) / "out.lock"
    held.parent.mkdir(parents=True, exist_ok=True)
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        job = work(run)
    assert job.state == "waiting" and "is still ending" in job.reason and not (run_folder(run) / "starts").exists()
    assert work(run).state == "succeeded"


def test_a_worker_that_died_between_preparing_and_its_end_leaves_one_training(line: Line) -> None:
    """The second attempt at preparing queued a second training, which wrote the same folder and was paid for again."""
    line.propose(suite=False)
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    for _ in range(2):
        Job.objects.filter(pk=run.prepare_job_id).update(not_before=None)
        lease = jobs.claim(str(run.prepare_job_id), now=timezone.now())
        assert lease is not None
        with lease.hold():
            runs.prepared(run)
        jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
    assert Job.objects.filter(kind="training.train").count() == 1
    jobs.cancel(job=Job.objects.get(pk=run.prepare_job_id), by=line.alice)
    run.refresh_from_db()
    assert run.state == Run.State.TRAINING  # what the data was prepared for goes on


def test_a_training_cut_off_behind_its_weights_can_be_run_again(
    run: Run, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was "succeeded" with a check that ran for ever: no button helped."""

    def die(_: Run) -> None:
        raise KeyboardInterrupt  # nothing catches it, as with a worker that is gone

    act_as_engine(monkeypatch, FINISH)
    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(tasks, "add_outputs", die)
        work(run)
    runs.cancel_run(run=run, by=line.alice)
    jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
    run.refresh_from_db()
    assert (run.state, checks_of(run.pull_request)["train"]) == (Run.State.CANCELLED, "cancelled")
    assert bill(line) == [("refunded", False)]
    runs.rerun(run=run, by=line.alice)
    assert work(run).state == "succeeded" and checks_of(run.pull_request)["train"] == "passed"
    assert bill(line) == [("refunded", False), ("settled", True)]


def test_hours_of_waiting_are_not_paid(run: Run, line: Line) -> None:
    """A job that was given back and cancelled in the queue was charged from its first start on."""
    began = timezone.now() - timedelta(hours=3)
    assert jobs.claim(str(run.train_job_id), now=began) is not None
    jobs.sweep(now=began + timedelta(seconds=jobs.LEASE_S + 1))
    runs.cancel_run(run=run, by=line.alice)
    assert bill(line) == [("refunded", False)]


# --- a lost queue, and jobs that vanish


def test_a_flushed_queue_loses_no_run(run: Run, announced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    announced.clear()  # the broker forgot all messages
    act_as_engine(monkeypatch, FINISH)
    late = timezone.now() + timedelta(seconds=jobs.WAKE_AGAIN_S + 1)
    jobs.sweep(now=late)
    assert announced.count(str(run.train_job_id)) == 1
    assert work(run).state == "succeeded"


def test_a_run_whose_job_is_gone_does_not_train_for_ever(run: Run, line: Line) -> None:
    Job.objects.filter(pk=run.train_job_id).update(state="failed", lease_until=None)  # its end was never told
    jobs.enqueue("training.end_forgotten")
    assert run_waiting_jobs(kinds=("training.end_forgotten",)) == ["training.end_forgotten"]
    run.refresh_from_db()
    assert run.state == Run.State.FAILED and "run it again" in summary_of(run.pull_request, "train")
    runs.rerun(run=run, by=line.alice)
    jobs.enqueue("training.end_forgotten")
    run_waiting_jobs(kinds=("training.end_forgotten",))
    assert Run.objects.get().state == Run.State.TRAINING  # what is at work is left alone


@pytest.mark.parametrize(("code", "words"), [(1, "in the log of the worker"), (-9, "the system ended it (SIGKILL)")])
def test_what_a_crash_says_of_this_machine_stays_in_the_log(
    code: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    trace = (
        "Traceback (most recent call last):\nOSError: [Errno 5] cannot read '/srv/hub/data/runs/7/model.safetensors'"
    )
    with pytest.raises(JobRetry) as told:
        require_success(Outcome(code, stderr=trace))
    assert words in str(told.value) and f"stopped with code {code}" in str(told.value) and "/srv" not in str(told.value)
    assert "/srv/hub/data/runs/7" in caplog.text
    with pytest.raises(JobRetry, match="code 1: the loss is no number[.]$"):
        require_success(Outcome(1, error={"message": "the loss is no number."}))
