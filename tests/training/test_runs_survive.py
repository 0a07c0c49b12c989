"""Killed trainers and workers, cancelled and repeated runs: work goes on from its checkpoint or ends with a reason."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import Forbidden, InvalidInput
from hub.common.jobs import working
from hub.common.models import Job, JobEvent
from hub.community.models import PullRequest
from tests.training.line import MANY_STEPS, Line, checks_of, run_waiting_jobs, summary_of
from training.models import Checkpoint, Run
from training.running import runs
from training.running.records import read_confinement
from training.tasks import run_folder

WAIT_S = 90


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_CHECKPOINT_S", "0.05")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT_S} s for {what}")


def trainer_of(run: Run) -> int | None:
    """Process id of the engine that works in the run's folder."""
    own = str(run_folder(run) / "out")
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "training.workers.sandbox" in words and own in words:
            return int(entry.parent.name)
    return None


def has_checkpoint(run: Run) -> bool:
    return any((run_folder(run) / "out" / "checkpoints").glob("step-*"))


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    """Do something while a job runs in the test's main thread."""

    def work() -> None:
        from django.db import connection

        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def find_run() -> tuple[Run, Job]:
    """The only run, and its training that waits for a worker."""
    run = Run.objects.get()
    assert run.state == Run.State.TRAINING
    return run, run.train_job  # type: ignore[return-value]


def resumed_steps(job: Job) -> list[int]:
    events = JobEvent.objects.filter(job=job, kind="stage", data__state="resumed")
    return [event.data["step"] for event in events]


def run_again(job: Job) -> None:
    """What the sweeper does when the pause after a failure is over."""
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))


def test_a_killed_trainer_goes_on_from_its_checkpoint(prepared: PullRequest) -> None:
    run, job = find_run()

    def kill() -> None:
        wait_for(lambda: has_checkpoint(run), "a checkpoint")
        os.kill(wait_for(lambda: trainer_of(run), "the trainer"), signal.SIGKILL)

    killer = meanwhile(kill)
    jobs.run(str(job.pk))
    killer.join(5)
    job.refresh_from_db()
    assert job.state == "waiting" and "stopped with code -9" in job.reason and job.not_before is not None
    run.refresh_from_db()
    assert run.state == Run.State.TRAINING  # nobody has to do anything

    run_again(job)
    run.refresh_from_db()
    job.refresh_from_db()
    assert (job.state, job.attempt, run.state) == ("succeeded", 2, Run.State.SUCCEEDED)
    assert resumed_steps(job) and resumed_steps(job)[0] > 0
    assert run.result["steps"] == 60 and Checkpoint.objects.get(run=run).is_final


WORKER = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "hub.site.settings"
import django
django.setup()
from django.conf import settings
from pathlib import Path
settings.DATA_DIR = Path(sys.argv[2])
settings.DATABASES["default"]["NAME"] = sys.argv[3]
from hub.common.jobs import run
run(sys.argv[1])
"""


def test_a_killed_worker_takes_its_trainer_along_and_another_goes_on(prepared: PullRequest, settings: Any) -> None:
    run, job = find_run()
    database = str(settings.DATABASES["default"]["NAME"])
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(job.pk), str(settings.DATA_DIR), database])
    try:
        wait_for(lambda: has_checkpoint(run), "a checkpoint")
        trainer = wait_for(lambda: trainer_of(run), "the trainer")
    finally:
        worker.kill()
        worker.wait()
    wait_for(lambda: not Path(f"/proc/{trainer}").exists() or is_zombie(trainer), "the trainer's end")

    job.refresh_from_db()
    assert job.state == "running"  # nobody is left to say otherwise: the lease tells
    jobs.sweep(now=timezone.now())
    job.refresh_from_db()
    assert job.state == "running"
    jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
    job.refresh_from_db()
    assert job.state == "waiting" and job.reason.startswith("Its worker was not heard of any more.")

    run_again(job)
    run.refresh_from_db()
    job.refresh_from_db()
    assert (job.state, run.state) == ("succeeded", Run.State.SUCCEEDED)
    assert resumed_steps(job)
    assert checks_of(prepared)["train"] == "passed"


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_cancelling_keeps_the_checkpoint_and_running_again_goes_on(
    line: Line, charlie: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "HEARTBEAT_S", 0.1)  # the beat learns of the cancellation
    pull_request = line.propose(train=MANY_STEPS.replace("steps: 60", "steps: 200"), suite=False)
    run_waiting_jobs(kinds=("training.rebuild", "training.prepare"))
    run, job = find_run()

    def cancel() -> None:
        wait_for(lambda: has_checkpoint(run), "a checkpoint")
        runs.cancel_run(run=run, by=line.alice)

    thread = meanwhile(cancel)
    jobs.run(str(job.pk))
    thread.join(5)
    run.refresh_from_db()
    job.refresh_from_db()
    assert (job.state, run.state, run.reason) == ("cancelled", Run.State.CANCELLED, "Cancelled by alice.")
    assert checks_of(pull_request)["train"] == "cancelled" and has_checkpoint(run)
    assert trainer_of(run) is None
    with pytest.raises(InvalidInput, match="nothing to stop"):
        runs.cancel_run(run=run, by=line.alice)
    with pytest.raises(Forbidden):
        runs.rerun(run=run, by=charlie.user)

    runs.rerun(run=run, by=line.bob)
    assert run_waiting_jobs(kinds=("training.train",)) == ["training.train"]
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED and run.train_job_id != job.pk
    assert resumed_steps(run.train_job)  # type: ignore[arg-type]


def test_a_run_that_waits_for_a_person_can_be_cancelled(line: Line, charlie: Any) -> None:
    pull_request = line.propose(charlie.user, suite=False)
    run_waiting_jobs(kinds=("training.rebuild", "training.prepare"))
    run = Run.objects.get()
    assert run.state == Run.State.HELD
    runs.cancel_run(run=run, by=charlie.user)
    assert checks_of(pull_request)["train"] == "cancelled"
    assert summary_of(pull_request, "train") == "Cancelled by charlie."


def test_a_late_twin_writes_nothing(line: Line) -> None:
    """The message of a long job comes twice: the second worker has the row, the first one stops itself."""
    line.propose(suite=False)
    run_waiting_jobs(kinds=("training.rebuild",))
    job = Job.objects.get(kind="training.prepare")
    twin = jobs.claim(str(job.pk), now=timezone.now())
    assert twin is not None and jobs.claim(str(job.pk), now=timezone.now()) is None
    jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
    Job.objects.filter(pk=job.pk).update(not_before=None)
    owner = jobs.claim(str(job.pk), now=timezone.now())
    assert owner is not None and owner.fencing > twin.fencing

    before = JobEvent.objects.filter(job=job).count()
    twin.beat()
    with pytest.raises(jobs.JobLost):
        twin.report("progress", sentence="I am still here")
    with pytest.raises(jobs.JobLost), twin.hold():
        Run.objects.update(reason="written by a twin")
    twin.note_progress(sentence="I am still here")
    jobs.finish(twin, Job.State.SUCCEEDED, "")
    jobs.give_back(twin, "I broke")
    job.refresh_from_db()
    assert (job.state, job.fencing, job.progress) == ("running", owner.fencing, {})
    assert JobEvent.objects.filter(job=job).count() == before
    assert Run.objects.get().reason == ""


def test_jobs_end_with_a_reason_when_their_attempts_are_used_up(line: Line) -> None:
    pull_request = line.propose(suite=False)
    run_waiting_jobs(kinds=("training.rebuild",))
    job = Job.objects.get(kind="training.prepare")
    now = timezone.now()
    for _ in range(job.max_attempts):
        Job.objects.filter(pk=job.pk).update(not_before=None)
        assert jobs.claim(str(job.pk), now=now) is not None
        jobs.sweep(now=now + timedelta(seconds=jobs.LEASE_S + 1))
    job.refresh_from_db()
    assert job.state == "failed" and "was tried 5 times" in job.reason
    assert checks_of(pull_request)["prepare"] == "failed"
    assert Run.objects.get().state == Run.State.FAILED


def test_the_sweeper_wakes_jobs_whose_message_was_lost(line: Line, announced: list[str]) -> None:
    line.propose(suite=False)
    job = Job.objects.get(kind="training.rebuild")
    assert str(job.pk) in announced
    announced.clear()
    jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.WAKE_AGAIN_S + 1))
    assert str(job.pk) in announced


def test_what_the_hub_broke_costs_nobody(line: Line, prepared: PullRequest) -> None:
    from training.models import LedgerEntry

    run, job = find_run()
    now = timezone.now()
    for _ in range(job.max_attempts):
        Job.objects.filter(pk=job.pk).update(not_before=None)
        jobs.claim(str(job.pk), now=now)
        jobs.sweep(now=now + timedelta(seconds=jobs.LEASE_S + 1))
    entry = LedgerEntry.objects.get(user=line.alice)
    assert (entry.kind, entry.seconds) == ("refunded", 0)


def test_the_engine_says_how_it_was_confined(prepared: PullRequest) -> None:
    event = JobEvent.objects.get(job__kind="training.prepare", kind="sandbox")
    assert {name: type(value) for name, value in event.data.items()} == {"network": bool, "own_user": bool}
    sentence = read_confinement(Run.objects.get())
    assert ("without a network" in sentence) == (not event.data["network"])
    assert ("as a user of its own" in sentence) == event.data["own_user"]


def test_a_run_that_takes_too_much_memory_ends_with_a_sentence(line: Line, settings: Any) -> None:
    settings.ENGINE_MEMORY_BYTES = 100 * 1024 * 1024  # less than torch alone
    pull_request = line.propose(train=MANY_STEPS)
    run_waiting_jobs()
    run = Run.objects.get()
    assert run.state == Run.State.FAILED and "more memory than the 0.1 GB" in run.reason
    assert "train.batch_tokens" in summary_of(pull_request, "prepare")
    assert trainer_of(run) is None
