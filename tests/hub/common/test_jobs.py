"""Jobs: rows are the truth, messages only wake workers; late twins, lost workers and lost messages do no harm."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import InvalidInput
from hub.common.jobs import JobLost, JobRefused, JobRetry
from hub.common.models import Job
from hub.site.bootstrap import services

pytestmark = pytest.mark.django_db

SOURCE = [path for room in ("hub", "training", "moderation") for path in Path(room).rglob("*.py")]


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Stands in for the broker: the ids of jobs that a message was sent for."""
    from hub.site.celery import run_job

    ids: list[str] = []
    monkeypatch.setattr(run_job, "apply_async", lambda args, **_: ids.append(args[0]))
    return ids


@pytest.fixture
def work(monkeypatch):
    """`work(body)` registers a body under the kind "test.work" for this test; `work.ended` is what on_end saw."""
    monkeypatch.setattr(jobs, "bodies", dict(jobs.bodies))

    def register(body, **options):
        jobs.job_body("test.work", on_end=lambda job: register.ended.append((job.state, job.reason)), **options)(body)

    register.ended = []
    return register


def start(**more):
    job = jobs.enqueue("test.work", **more)
    return job, jobs.claim(str(job.pk), now=timezone.now())


def states(job):
    return [event.data["state"] for event in job.events.filter(kind="state")]


def after(seconds):
    return timezone.now() + timedelta(seconds=seconds)


# --- from beginning to end


def test_a_job_is_written_woken_claimed_and_carried_out(work, heard, django_capture_on_commit_callbacks):
    seen = []
    work(lambda lease: seen.append(lease.payload["number"]))
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.enqueue("test.work", subject="run:3", number=7)
        assert heard == []
    assert heard == [str(job.pk)]
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (seen, job.state, job.attempt, job.subject) == ([7], "succeeded", 1, "run:3")
    assert job.started_at <= job.finished_at and job.lease_until is None
    assert states(job) == ["waiting", "running", "succeeded"]
    assert work.ended == [("succeeded", "")]


@pytest.mark.django_db(transaction=True)
def test_nobody_is_woken_for_a_job_whose_transaction_failed(work, heard):
    from django.db import transaction

    work(lambda lease: None)
    with pytest.raises(ValueError), transaction.atomic():
        jobs.enqueue("test.work")
        raise ValueError
    assert heard == [] and not Job.objects.filter(kind="test.work").exists()
    with transaction.atomic():
        jobs.enqueue("test.work")
        assert heard == []
    assert len(heard) == 1


def test_a_broker_that_is_down_costs_nothing(work, monkeypatch, django_capture_on_commit_callbacks):
    from hub.site.celery import run_job

    def break_down(**_):
        raise ConnectionError("no broker")

    work(lambda lease: None)
    monkeypatch.setattr(run_job, "apply_async", break_down)
    with django_capture_on_commit_callbacks(execute=True):
        job = jobs.enqueue("test.work")
    assert Job.objects.get(pk=job.pk).state == "waiting"


def test_an_unknown_name_fails_where_it_was_written():
    with pytest.raises(KeyError):
        jobs.enqueue("test.no-such-work")


def test_every_job_that_the_source_names_has_a_body():
    named = set()
    for path in SOURCE:
        for node in ast.walk(ast.parse(path.read_text())):
            function = getattr(node, "func", None)
            if getattr(function, "id", getattr(function, "attr", "")) == "enqueue" and path.name != "jobs.py":
                kind = node.args[0]
                if isinstance(kind, ast.Name):  # a constant of its module
                    module = __import__(".".join(path.with_suffix("").parts), fromlist=["x"])
                    named.add(getattr(module, kind.id))
                else:
                    named.add(ast.literal_eval(kind))
    assert len(named) >= 6
    assert named - set(jobs.bodies) == set()


def test_every_queue_has_work_and_with_and_without_a_gpu_a_listener():
    """The queue for the GPU had a listener and no body: a machine with a GPU trained beside an idle worker."""
    assert {body.queue for body in jobs.bodies.values()} == set(jobs.QUEUES)
    for with_gpu in (False, True):
        workers = services.SHORT_WORK | services.engine_work(with_gpu=with_gpu)
        assert {queue for queues in workers.values() for queue in queues.split(",")} == set(jobs.QUEUES)


def test_lost_leases_are_found_while_long_work_is_done():
    """Two long screenings held all that was short: sweeps, candidates and the playground."""
    from hub.site.celery import app

    quick = app.amqp.router.route({}, "hub.sweep_jobs")["queue"].name
    assert [queues for queues in services.SHORT_WORK.values() if quick in queues.split(",")] == [quick]
    assert {jobs.bodies[kind].queue for kind in ("training.rebuild", "repos.reconcile")} == {quick}
    assert jobs.bodies["training.chat"].queue != jobs.bodies["moderation.screen_data"].queue != quick


def test_what_computes_with_a_model_is_for_the_gpu():
    kinds = ("training.train", "training.evaluate", "training.sample")
    assert {jobs.bodies[kind].queue for kind in kinds} == {"gpu"}


def test_every_body_is_asked_for_by_somebody_or_comes_round_by_itself():
    asked = "".join(path.read_text() for path in SOURCE)
    constants = {"moderation.screen_data": "SCREEN_KIND", "training.chat": "KIND", "repos.purge": "enqueue(KIND"}
    for kind, body in jobs.bodies.items():
        name = constants.get(kind, f'"{kind}"')
        assert body.every_s or asked.count(name) > (0 if name.startswith("enqueue(") else 1), kind


# --- who holds it


def test_a_job_is_claimed_once(work):
    work(lambda lease: None)
    job, lease = start()
    assert lease is not None and lease.fencing == 1
    assert jobs.claim(str(job.pk), now=timezone.now()) is None


def test_a_job_that_is_to_wait_is_not_to_be_had_before_its_time(work, heard):
    work(lambda lease: None)
    job = jobs.enqueue("test.work", delay_s=60)
    assert jobs.claim(str(job.pk), now=after(59)) is None
    jobs.sweep(now=after(59))
    assert str(job.pk) not in heard
    jobs.sweep(now=after(61))
    assert heard.count(str(job.pk)) == 1
    assert jobs.claim(str(job.pk), now=after(61)) is not None


def test_after_an_expired_lease_another_attempt_has_a_higher_fencing_number(work):
    work(lambda lease: None)
    job, first = start()
    jobs.sweep(now=after(jobs.LEASE_S - 1))
    assert jobs.claim(str(job.pk), now=after(90)) is None
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    job.refresh_from_db()
    assert (job.state, job.reason) == ("waiting", "Its worker was not heard of any more. It is tried again.")
    second = jobs.claim(str(job.pk), now=after(120))
    assert second.fencing > first.fencing and second.job.attempt == 2


def test_a_beating_heart_keeps_the_lease(work):
    work(lambda lease: None)
    job, lease = start()
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() + timedelta(seconds=1))
    lease.beat()
    jobs.sweep(now=after(jobs.LEASE_S - 1))
    assert Job.objects.get(pk=job.pk).state == "running"


def test_a_late_twin_reports_nothing_holds_nothing_and_ends_nothing(work):
    work(lambda lease: None)
    job, twin = start()
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    owner = jobs.claim(str(job.pk), now=after(120))
    with pytest.raises(JobLost):
        twin.report("log", line="I am still here")  # its heart has not told it yet
    with pytest.raises(JobLost), twin.hold():
        pytest.fail("a lost job wrote results")
    twin.note_progress(done=1)
    jobs.finish(twin, Job.State.SUCCEEDED, "")
    jobs.give_back(twin, "It broke.")
    job.refresh_from_db()
    assert (job.state, job.progress, job.fencing) == ("running", {}, owner.fencing)
    assert not job.events.filter(kind="log").exists() and work.ended == []
    owner.report("log", line="mine")
    assert [event.data for event in job.events.filter(kind="log")] == [{"line": "mine"}]


def test_a_twin_learns_from_its_heart_that_it_lost_the_job(work):
    work(lambda lease: None)
    job, twin = start()
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    twin.check()
    twin.beat()
    with pytest.raises(JobLost):
        twin.check()


def test_results_are_written_in_one_transaction_with_the_proof_that_the_job_is_still_ours(work):
    work(lambda lease: None)
    job, lease = start()
    with pytest.raises(ValueError), lease.hold() as row:
        assert row.pk == job.pk
        jobs.note(job, "log", line="half a result")
        raise ValueError
    assert not job.events.filter(kind="log").exists()


def test_progress_is_an_event_and_stands_on_the_row(work):
    work(lambda lease: None)
    job, lease = start()
    lease.report("progress", sentence="Packing", done=3, total=9)
    job.refresh_from_db()
    assert job.progress == {"sentence": "Packing", "done": 3, "total": 9} == job.events.get(kind="progress").data


# --- how it ends


def test_input_that_can_never_work_fails_at_once_with_its_sentence(work):
    def refuse(lease):
        raise JobRefused("The dataset has no rows; add some.")

    work(refuse)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.reason, job.attempt) == ("failed", "The dataset has no rows; add some.", 1)
    assert work.ended == [("failed", job.reason)]


def test_a_refusal_of_the_hub_counts_as_such_input(work):
    def refuse(lease):
        raise InvalidInput("There is no such branch.")

    work(refuse)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    assert (Job.objects.get(pk=job.pk).state, work.ended) == ("failed", [("failed", "There is no such branch.")])


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (JobRetry("The disk was full."), "The disk was full."),
        (KeyError("x"), "Something broke in the hub itself (KeyError"),
    ],
)
def test_a_crash_and_a_failing_machine_are_tried_again_later_and_then_given_up(work, problem, words):
    def stumble(lease):
        raise problem

    work(stumble, max_attempts=2)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == "waiting" and job.reason.startswith(words) and job.reason.endswith("It is tried again.")
    assert timezone.now() < job.not_before < after(61) and work.ended == []
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == "failed" and "It was tried 2 times; re-run it when the cause is mended." in job.reason
    assert [state for state, _ in work.ended] == ["failed"]


def test_what_went_wrong_once_may_go_well_later_and_leaves_no_reason(work):
    tries = []

    def stumble_once(lease):
        tries.append(lease.fencing)
        if len(tries) == 1:
            raise JobRetry("The disk was full.")

    work(stumble_once)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.reason, job.attempt) == ("succeeded", "", 2)
    assert tries == sorted(set(tries)) and work.ended == [("succeeded", "")]


def try_and_lose(job, *, done):
    """One attempt that came so far when its worker was stopped."""
    Job.objects.filter(pk=job.pk).update(not_before=None)
    lease = jobs.claim(str(job.pk), now=timezone.now())
    lease.report("progress", sentence="Training", done=done)
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    job.refresh_from_db()


def test_an_attempt_that_came_further_than_all_before_does_not_count_against_the_limit(work):
    """Five restarts of the hub failed a run of days, though each time it had gone on from a later checkpoint."""
    work(lambda lease: None)
    job = jobs.enqueue("test.work")
    for step in range(100, 900, 100):
        try_and_lose(job, done=step)
    assert (job.state, job.attempt) == ("waiting", 8) and job.reason.endswith("It is tried again.")
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))
    assert Job.objects.get(pk=job.pk).state == "succeeded"


def test_a_job_that_comes_no_further_ends_however_far_it_came_before(work):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")
    try_and_lose(job, done=100)
    for step in (0, 50, 100, 100):
        try_and_lose(job, done=step)
        assert job.state == "waiting"
    try_and_lose(job, done=99)
    assert job.state == "failed" and "It was tried 6 times" in job.reason


def test_the_end_is_told_once_and_in_the_transaction_that_ends_the_job(work, monkeypatch):
    work(lambda lease: None)
    job, lease = start()
    body = jobs.bodies["test.work"]

    def break_down(_):
        raise RuntimeError("the listener broke")

    monkeypatch.setitem(jobs.bodies, "test.work", jobs.Body(**{**vars(body), "on_end": break_down}))
    with pytest.raises(RuntimeError):
        jobs.finish(lease, Job.State.SUCCEEDED, "")
    assert Job.objects.get(pk=job.pk).state == "running"  # so that it ends later, with its consequences
    monkeypatch.setitem(jobs.bodies, "test.work", body)
    jobs.finish(lease, Job.State.SUCCEEDED, "")
    jobs.finish(lease, Job.State.FAILED, "again")
    assert work.ended == [("succeeded", "")]


# --- cancelling and budgets


def test_a_waiting_job_is_cancelled_at_once(work, alice):
    work(lambda lease: pytest.fail("it ran"))
    job = jobs.enqueue("test.work")
    jobs.cancel(job=job, by=alice.user)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.reason) == ("cancelled", "Cancelled by alice.")
    assert work.ended == [("cancelled", "Cancelled by alice.")]


def test_a_running_job_hears_of_it_with_its_next_heartbeat(work, alice):
    def work_until_told(lease):
        jobs.cancel(job=lease.job, by=alice.user, reason="A newer push replaced it.")
        lease.beat()
        lease.check()
        pytest.fail("it went on")

    work(work_until_told)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.reason) == ("cancelled", "A newer push replaced it.")
    assert work.ended == [("cancelled", "A newer push replaced it.")]


def test_a_job_whose_worker_died_ends_when_it_was_cancelled(work, alice):
    work(lambda lease: None)
    job, _ = start()
    jobs.cancel(job=job, by=alice.user)
    assert Job.objects.get(pk=job.pk).state == "running"
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    assert work.ended == [("cancelled", "Cancelled by alice.")]


def test_what_has_ended_cannot_be_cancelled(work, alice):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    assert jobs.cancel(job=job, by=alice.user).state == "succeeded"
    assert len(work.ended) == 1


# --- the sweeper


def test_a_lost_message_is_sent_again(work, heard):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")  # the test's transaction never commits, so no message is sent
    jobs.sweep(now=timezone.now())
    jobs.sweep(now=after(1))
    assert heard.count(str(job.pk)) == 1
    jobs.sweep(now=after(jobs.WAKE_AGAIN_S + 1))
    assert heard.count(str(job.pk)) == 2


def test_sweeping_twice_is_sweeping_once(work):
    work(lambda lease: None)
    job, _ = start()
    moment = after(jobs.LEASE_S + 1)
    jobs.sweep(now=moment)
    swept = Job.objects.filter(pk=job.pk).values().get()
    jobs.sweep(now=moment)
    assert Job.objects.filter(pk=job.pk).values().get() == swept


def test_one_job_that_cannot_end_does_not_keep_the_others_asleep(work, heard):
    def break_down(job):
        raise RuntimeError("the listener broke")

    work(lambda lease: None, max_attempts=1)
    body = jobs.bodies["test.work"]
    jobs.bodies["test.broken"] = jobs.Body(**{**vars(body), "kind": "test.broken", "on_end": break_down})
    broken = jobs.enqueue("test.broken")
    other = jobs.enqueue("test.work")
    for job in (broken, other):
        jobs.claim(str(job.pk), now=timezone.now())
    jobs.sweep(now=after(jobs.LEASE_S + 1))
    assert Job.objects.get(pk=broken.pk).state == "running"
    assert work.ended == [("failed", Job.objects.get(pk=other.pk).reason)]


def test_housekeeping_comes_round_by_itself_one_at_a_time(work, monkeypatch):
    monkeypatch.setattr(jobs, "bodies", {})
    work(lambda lease: None, every_s=60)
    rows = Job.objects.filter(kind="test.work")
    jobs.sweep(now=timezone.now())
    jobs.sweep(now=after(600))
    assert rows.count() == 1  # it waits still
    jobs.run(str(rows.get().pk))
    jobs.sweep(now=after(30))
    assert rows.filter(state="waiting").count() == 0
    jobs.sweep(now=after(61))
    assert [row.state for row in rows] == ["waiting"]  # and what went well leaves no heap of rows
