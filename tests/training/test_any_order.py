"""A run in any order of events: workers start, beat, fall silent, come back too late, end well or badly; messages come twice,
people cancel and start again. Whatever happens, one worker holds a job, the bill is right, and nothing stays "running"."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hub.common import jobs
from hub.common.errors import Conflict, InvalidInput
from hub.common.models import Job
from hub.community.checks import reset_checks
from hub.community.models import Check
from tests.training.line import Line
from training.models import Corpus, LedgerEntry, Run
from training.proposals.candidates import CHECKS
from training.running import runs

RESULT = {"steps": 4, "tokens": 1024, "seconds": 1.5, "final_loss": 2.5, "model_digest": "sha256:" + "a" * 64}
BEGINNING = datetime(2026, 11, 28, 12, tzinfo=timezone.get_current_timezone())
ENDED = (Run.State.FAILED, Run.State.CANCELLED)


@dataclass
class Worker:
    lease: jobs.Lease
    since: datetime

    @property
    def has_it(self) -> bool:
        return Job.objects.filter(pk=self.lease.job.pk, fencing=self.lease.fencing, state="running").exists()


class AnyOrder(RuleBasedStateMachine):
    line: Line
    pull_request: Any

    @initialize(is_approved=st.booleans(), is_given_up=st.booleans())
    def propose(self, is_approved: bool, is_given_up: bool) -> None:
        self.is_given_up = is_given_up
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.now = BEGINNING
        self.workers: list[Worker] = []
        self.bill_s = 0.0
        with self.clock():
            reset_checks(self.pull_request, list(CHECKS), "Its turn comes.")
            run = runs.create_run(
                pull_request=self.pull_request, input_commit="a" * 40, recipe_digest="sha256:r", lock_digest="sha256:l"
            )
        self.pk = run.pk
        if not is_approved:
            Run.objects.filter(pk=run.pk).update(approved_by=None)

    def teardown(self) -> None:
        if not hasattr(self, "pk"):
            return
        try:
            self.end_of_the_day()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)

    def end_of_the_day(self) -> None:
        """All workers are gone: within two leases and the longest pause nothing is "running", and a new worker can go on,
        unless somebody gave it up."""
        if self.is_given_up:
            self.somebody_cancels()
        for _ in range(3):
            self.now += timedelta(seconds=jobs.LEASE_S + 1)
            with self.clock():
                jobs.sweep(now=self.now)
        assert not self.jobs_of_run().filter(state="running").exists()
        while job := self.jobs_of_run().filter(state="waiting").first():
            self.now += timedelta(seconds=61)
            self.start(job)
            self.end_well(self.workers[-1])
            self.nothing_contradicts()
        assert self.run_row().state in (*ENDED, Run.State.SUCCEEDED, Run.State.HELD)
        running = self.pull_request.checks.filter(state=Check.State.RUNNING)
        assert not running.exists(), list(running.values_list("name", flat=True))

    @contextmanager
    def clock(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(timezone, "now", lambda: self.now)
            yield

    def run_row(self) -> Run:
        return Run.objects.select_related("pull_request__discussion", "repo").get(pk=self.pk)

    def jobs_of_run(self) -> Any:
        return Job.objects.filter(subject=f"run:{self.pk}", kind__in=runs.WORK).order_by("created_at")

    def start(self, job: Job) -> None:
        with self.clock():
            lease = jobs.claim(str(job.pk), now=self.now)
        if job.state == "waiting" and (job.not_before is None or job.not_before <= self.now):
            assert lease is not None
            self.workers.append(Worker(lease, self.now))
        else:
            assert lease is None  # a message that came twice, or too early

    def end_well(self, worker: Worker) -> None:
        """The last acts of the body, each in a transaction that holds the row, as training.tasks does them."""
        with self.clock():
            if worker.lease.job.kind == "training.prepare":
                self.keep_rows(worker)
            else:
                self.store(worker)
                with worker.lease.hold():
                    runs.show(self.run_row(), "train", Check.State.PASSED, "4 steps.")
            self.end(worker, Job.State.SUCCEEDED, "")

    def keep_rows(self, worker: Worker) -> None:
        with worker.lease.hold():
            corpus, _ = Corpus.objects.get_or_create(digest="sha256:c", defaults={"rows": 2, "tokens": 9})
            Run.objects.filter(pk=self.pk).update(corpus=corpus)
            runs.show(self.run_row(), "prepare", Check.State.PASSED, "2 rows.")
            runs.prepared(self.run_row())

    def store(self, worker: Worker) -> None:
        with worker.lease.hold():
            runs.trained(self.run_row(), RESULT)

    def end(self, worker: Worker, state: str, reason: str) -> None:
        is_paid = worker.has_it and worker.lease.job.kind == "training.train"
        jobs.finish(worker.lease, state, reason)
        if is_paid:
            self.bill_s += (self.now - worker.since).total_seconds()
        self.workers.remove(worker)

    # --- what may happen

    @rule(seconds=st.sampled_from([1, 5, 61]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(pick=st.integers(0, 4))
    def a_message_arrives(self, pick: int) -> None:
        """Mostly of the newest job; now and then an old one comes once more."""
        rows = list(self.jobs_of_run())
        self.start(rows[-1 if pick else 0])

    @rule(is_oldest=st.booleans(), came_far=st.booleans(), is_cancelled=st.booleans(), comes_back=st.booleans())
    def a_worker_falls_silent(self, is_oldest: bool, came_far: bool, is_cancelled: bool, comes_back: bool) -> None:
        """At the worst moment: its results are written, its end is not. It may come back too late."""
        living = list(self.jobs_of_run().exclude(state__in=Job.ENDED))
        if not living:
            return
        job = living[0 if is_oldest else -1]
        self.start(job)
        worker = next((worker for worker in self.workers if worker.lease.job.pk == job.pk and worker.has_it), None)
        if worker and came_far:
            self.come_far(worker)
        if worker and not comes_back:
            self.workers.remove(worker)
        if is_cancelled:
            self.somebody_cancels()
        self.now += timedelta(seconds=jobs.LEASE_S + 1)
        with self.clock():
            jobs.sweep(now=self.now)
        self.now += timedelta(seconds=61)  # the pause before the next attempt

    def come_far(self, worker: Worker) -> None:
        with self.clock():
            if worker.lease.job.kind == "training.train":
                self.store(worker)
            else:
                self.keep_rows(worker)

    @rule()
    def the_sweeper_comes_round(self) -> None:
        with self.clock():
            jobs.sweep(now=self.now)

    @precondition(lambda self: self.workers)
    @rule(
        pick=st.integers(0, 9),
        how=st.sampled_from(["well", "well", "refused", "broke", "obeys"]),
    )
    def a_worker_acts(self, pick: int, how: str) -> None:
        worker = self.workers[pick % len(self.workers)]
        if not worker.has_it:
            return self.come_too_late(worker, how)
        with self.clock():
            worker.lease.beat()
            if how == "refused":
                self.end(worker, Job.State.FAILED, "It has no rows.")
            elif how == "broke":
                jobs.give_back(worker.lease, "The disk was full.")
                self.workers.remove(worker)
            elif how == "obeys" and worker.lease.cancelled.is_set():
                self.end(worker, Job.State.CANCELLED, "Cancelled on request.")
        if how == "well":
            self.end_well(worker)
        return None

    def come_too_late(self, worker: Worker, how: str) -> None:
        """Somebody else has the job, or it is over: nothing that this worker does is seen."""
        before = self.snapshot()
        with self.clock():
            worker.lease.beat()
            with pytest.raises(jobs.JobLost):
                self.store(worker)
            if how == "broke":
                jobs.give_back(worker.lease, "I broke.")
            else:
                jobs.finish(worker.lease, Job.State.SUCCEEDED if how == "well" else Job.State.FAILED, "late")
        assert self.snapshot() == before
        self.workers.remove(worker)

    def snapshot(self) -> list[Any]:
        tables = (
            self.jobs_of_run(),
            Run.objects.filter(pk=self.pk),
            LedgerEntry.objects.all(),
            self.pull_request.checks.all(),
        )
        return [list(rows.values()) for rows in tables]

    @rule()
    def somebody_cancels(self) -> None:
        with self.clock():
            try:
                runs.cancel_run(run=self.run_row(), by=self.line.alice)
            except InvalidInput:
                assert self.run_row().state in (*ENDED, Run.State.SUCCEEDED)

    @rule()
    def somebody_starts_again(self) -> None:
        before = self.run_row().state
        with self.clock():
            try:
                runs.rerun(run=self.run_row(), by=self.line.alice)
            except InvalidInput:
                assert before not in ENDED
            except Conflict:
                assert self.jobs_of_run().filter(state="running").exists()

    @rule()
    def somebody_presses_run(self) -> None:
        with self.clock():
            runs.start_run(run=self.run_row(), by=self.line.bob)

    # --- what has to hold at every moment

    @invariant()
    def nothing_contradicts(self) -> None:
        if not hasattr(self, "pk"):
            return
        run = self.run_row()
        living = list(self.jobs_of_run().exclude(state__in=Job.ENDED))
        trainings = [job for job in living if job.kind == "training.train"]
        assert len(trainings) <= 1 and len(living) - len(trainings) <= 1
        if run.state == Run.State.TRAINING:
            assert [job.pk for job in trainings] == [run.train_job_id]
        elif run.state == Run.State.PREPARING:
            assert [job.pk for job in living] == [run.prepare_job_id]
        elif run.state != Run.State.SUCCEEDED:
            assert not trainings
        checks = dict(self.pull_request.checks.values_list("name", "state"))
        assert checks["train"] != Check.State.RUNNING or trainings
        assert checks["prepare"] != Check.State.RUNNING or len(living) > len(trainings)
        self.check_the_bill()

    def check_the_bill(self) -> None:
        ended = self.jobs_of_run().filter(kind="training.train", state__in=Job.ENDED, attempt__gt=0)
        entries = LedgerEntry.objects.filter(job__in=self.jobs_of_run())
        assert sorted(entries.values_list("job", flat=True)) == sorted(ended.values_list("pk", flat=True))
        assert sum(entries.values_list("seconds", flat=True)) == pytest.approx(self.bill_s)
        assert all((entry.kind == "settled") == (entry.seconds > 0) for entry in entries)


def try_orders(line: Line, examples: int, steps: int) -> None:
    pull_request = line.propose(suite=False)
    machine = type("Orders", (AnyOrder,), {"line": line, "pull_request": pull_request})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck), derandomize=True,
        ),
    )  # fmt: skip


def test_in_any_order_one_worker_one_bill_and_an_end(line: Line) -> None:
    try_orders(line, examples=20, steps=15)


def test_orders_that_once_went_wrong(line: Line) -> None:
    """Chance seldom finds them: a worker that dies behind its results, of preparing (two trainings followed) and of a
    training that somebody then cancels (its check ran for ever)."""
    pull_request = line.propose(suite=False)
    for dies in ("preparing", "training"):
        machine = type("Orders", (AnyOrder,), {"line": line, "pull_request": pull_request})()
        machine.propose(is_approved=True, is_given_up=False)
        if dies == "training":
            machine.a_message_arrives(1)
            machine.a_worker_acts(0, "well")
        machine.a_worker_falls_silent(is_oldest=True, came_far=True, is_cancelled=dies == "training", comes_back=True)
        machine.nothing_contradicts()
        machine.teardown()


@pytest.mark.slow
def test_in_very_many_orders(line: Line) -> None:
    try_orders(line, examples=100, steps=30)
