"""Who holds a job: claims, heartbeats, fencing; late twins do no harm."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.jobs import JobLost
from hub.common.models import Job
from tests.hub.common.jobs.moments import after, start

pytestmark = pytest.mark.django_db


def test_a_job_is_claimed_once(work):
    work(lambda lease: None)
    job, lease = start()
    assert lease is not None and lease.fencing == 1
    assert jobs.claim(str(job.pk), now=timezone.now()) is None


def test_a_job_that_is_to_wait_is_not_to_be_had_before_its_time(work, heard):
    work(lambda lease: None)
    job = jobs.enqueue("test.work", delay_s=60)
    assert jobs.claim(str(job.pk), now=after(30)) is None
    jobs.sweep(now=after(30))
    assert str(job.pk) not in heard
    jobs.sweep(now=after(61))
    assert heard.count(str(job.pk)) == 1
    assert jobs.claim(str(job.pk), now=after(61)) is not None


def test_after_an_expired_lease_another_attempt_has_a_higher_fencing_number(work):
    work(lambda lease: None)
    job, first = start()
    jobs.sweep(now=after(jobs.LEASE_S / 2))
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
    jobs.sweep(now=after(jobs.LEASE_S / 2))
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
