"""Jobs under real threads and processes: two claim at once, a worker is killed, hearts beat, budgets run out."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.jobs import working
from hub.common.models import Job
from tests.beside import at_once, start_beside

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def fast_hearts(monkeypatch):
    monkeypatch.setattr(working, "HEARTBEAT_S", 0.01)


def test_of_many_who_reach_for_a_job_one_gets_it(work):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")
    leases = at_once(*[lambda: jobs.claim(str(job.pk), now=timezone.now())] * 6)
    assert [lease.fencing for lease in leases if lease is not None] == [1]
    assert Job.objects.get(pk=job.pk).attempt == 1


def test_many_workers_carry_each_job_out_once(work):
    done = []
    work(lambda lease: done.append(lease.payload["number"]))
    waiting = [jobs.enqueue("test.work", number=number) for number in range(4)]
    results = at_once(*[lambda: [jobs.run(str(job.pk)) for job in waiting]] * 3)
    assert not [result for result in results if isinstance(result, Exception)]
    assert sorted(done) == [0, 1, 2, 3]
    assert {job.state for job in Job.objects.filter(kind="test.work")} == {"succeeded"}


def test_sweepers_that_meet_give_a_job_back_once(work):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")
    jobs.claim(str(job.pk), now=timezone.now())
    late = timezone.now() + timedelta(seconds=jobs.LEASE_S + 1)
    results = at_once(*[lambda: jobs.sweep(now=late)] * 3)
    assert not [result for result in results if isinstance(result, Exception)]
    job.refresh_from_db()
    assert (job.state, job.fencing) == ("waiting", 2)
    assert job.events.filter(data__state="waiting").count() == 2  # when it was made, and when it was given back


def test_a_killed_workers_job_is_done_by_another(work):
    seen = []
    work(lambda lease: seen.append(lease.fencing))
    job = jobs.enqueue("test.work")
    code = """
import sys, time
from django.utils import timezone
from hub.common import jobs
jobs.job_body("test.work")(lambda lease: (print("at work", flush=True), time.sleep(60)))
jobs.run(sys.argv[1])
"""
    worker = start_beside(code, str(job.pk))
    assert worker.stdout.readline() == "at work\n"
    worker.kill()
    worker.communicate()
    jobs.run(str(job.pk))
    assert seen == []  # the lease of the dead still holds
    jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
    Job.objects.filter(pk=job.pk).update(not_before=None)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.attempt, len(seen)) == ("succeeded", 2, 1)


def test_a_body_that_uses_up_its_budget_is_told_to_stop(work):
    def wait_for_the_end(lease):
        assert lease.cancelled.wait(timeout=20)
        lease.check()

    work(wait_for_the_end)
    job = jobs.enqueue("test.work", budget_s=0)
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.reason) == ("cancelled", "Its budget of 0 s was used up.")


def test_the_heart_beats_while_the_body_works(work):
    def wait_for_a_beat(lease):
        rows = Job.objects.filter(pk=lease.job.pk)
        rows.update(lease_until=timezone.now())
        deadline = timezone.now() + timedelta(seconds=20)
        while rows.get().lease_until < timezone.now() + timedelta(seconds=jobs.LEASE_S / 2):
            assert timezone.now() < deadline, "no heartbeat came"

    work(wait_for_a_beat)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    assert Job.objects.get(pk=job.pk).state == "succeeded"


def test_a_body_that_another_attempt_took_over_stops_by_itself(work):
    def be_slow(lease):
        jobs.sweep(now=timezone.now() + timedelta(seconds=jobs.LEASE_S + 1))
        assert lease.lost.wait(timeout=20)
        lease.check()

    work(be_slow)
    job = jobs.enqueue("test.work")
    jobs.run(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.attempt) == ("waiting", 1)
