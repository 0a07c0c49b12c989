"""A job is a row: a worker is woken after the commit, and a broker that is down costs nothing."""

import pytest

from hub.common import jobs
from hub.common.models import Job
from tests.hub.common.jobs.moments import states

pytestmark = pytest.mark.django_db


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
