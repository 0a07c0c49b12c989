"""How a job ends: refused, given back, given up, cancelled; its end is told once."""

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import InvalidInput
from hub.common.jobs import JobRefused, JobRetry
from hub.common.models import Job
from hub.storage.errors import UnknownRevision
from tests.hub.common.jobs.moments import after, start

pytestmark = pytest.mark.django_db


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
        (KeyError("x"), "Something broke in the hub itself; its log tells more under job "),
        (UnknownRevision("There is no commit 1234567."), "There is no commit 1234567."),
    ],
)
def test_a_crash_and_a_failing_machine_are_tried_again_later_and_then_given_up(work, problem, words):
    def stumble(lease):
        raise problem

    work(stumble, max_attempts=2)
    job, before = jobs.enqueue("test.work"), timezone.now()
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == "waiting" and job.reason.startswith(words) and job.reason.endswith("It is tried again.")
    assert before < job.not_before < after(61) and work.ended == []
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert job.state == "failed" and "It was tried 2 times; re-run it when the cause is mended." in job.reason
    assert [state for state, _ in work.ended] == ["failed"]


def test_what_an_exception_says_is_for_the_log_and_not_for_those_who_read_the_job(work, caplog):
    """Pages of runs and checks of proposals showed paths of the server and parts of queries."""

    def stumble(lease):
        raise RuntimeError("password=tides for /srv/hub/secret")

    def break_down(job):
        raise RuntimeError("password=tides for /srv/hub/secret")

    work(stumble, max_attempts=1)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    jobs.bodies["test.work"] = jobs.Body(**{**vars(jobs.bodies["test.work"]), "on_end": break_down})
    silent, _ = start()
    jobs.sweep(now=after(jobs.LEASE_S + 3600))
    for ended in (job, silent):
        ended.refresh_from_db()
        said = [ended.reason, *(str(event.data) for event in ended.events.all())]
        assert ended.state == "failed" and not [words for words in said if "secret" in words or "Error" in words]
        assert f"log tells more under job {ended.pk}." in ended.reason
        traces = [record for record in caplog.records if str(ended.pk) in record.getMessage() and record.exc_info]
        assert traces and "password=tides" in str(traces[0].exc_info[1])


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


def test_the_end_is_told_once_and_in_the_transaction_that_ends_the_job(work):
    work(lambda lease: None)
    job, lease = start()
    body = jobs.bodies["test.work"]

    def break_down(_):
        raise RuntimeError("the listener broke")

    jobs.bodies["test.work"] = jobs.Body(**{**vars(body), "on_end": break_down})
    with pytest.raises(RuntimeError):
        jobs.finish(lease, Job.State.SUCCEEDED, "")
    assert Job.objects.get(pk=job.pk).state == "running"  # so that it ends later, with its consequences
    jobs.bodies["test.work"] = body
    jobs.finish(lease, Job.State.SUCCEEDED, "")
    jobs.finish(lease, Job.State.FAILED, "again")
    assert work.ended == [("succeeded", "")]


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
