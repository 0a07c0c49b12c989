"""The sweeper: lost messages, silent workers, housekeeping."""

from functools import partial

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.jobs.queueing import count_messages
from hub.common.models import Job
from tests.hub.common.jobs.moments import after, start

pytestmark = pytest.mark.django_db


def test_a_lost_message_is_sent_again(work, heard):
    work(lambda lease: None)
    job = jobs.enqueue("test.work")  # the test's transaction never commits, so no message is sent
    jobs.sweep(now=timezone.now())
    jobs.sweep(now=after(1))
    assert heard.count(str(job.pk)) == 1
    jobs.sweep(now=after(jobs.WAKE_AGAIN_S + 1))
    assert heard.count(str(job.pk)) == 2


def test_a_job_that_waits_behind_a_long_one_is_not_announced_over_and_over(work, monkeypatch):
    """Each waiting job left a message every 20 seconds: a night behind one long training was thousands."""
    from celery import Task

    from hub.site.celery import app, run_job

    monkeypatch.setattr(run_job, "apply_async", partial(Task.apply_async, run_job))  # the broker in memory
    jobs.bodies.clear()  # the fixture brings them back
    work(lambda lease: None, queue="long")
    jobs.enqueue("test.work")
    for seconds in range(0, 6 * 3600, 20 * jobs.WAKE_AGAIN_S):
        jobs.sweep(now=after(seconds))
    assert 1 <= count_messages("long") <= 8
    with app.connection_for_write() as connection:
        connection.SimpleQueue("long").clear()  # as a broker that was started anew
    jobs.sweep(now=after(6 * 3600 + 60))
    assert count_messages("long") == 1


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


def test_housekeeping_comes_round_by_itself_one_at_a_time(work):
    jobs.bodies.clear()  # the fixture brings them back
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
