"""Whose turn it is in a queue: nobody's jobs hold up everybody else's."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common import jobs
from hub.common.models import Job
from hub.site.celery import run_job
from tests.beside import at_once
from tests.hub.common.jobs.moments import after

pytestmark = pytest.mark.django_db
QUEUE = "line"  # of these tests alone


@pytest.fixture(autouse=True)
def kind(work):
    work(lambda lease: None, queue=QUEUE)


def queue_up(*people, **more):
    """A job for each, one second after the other."""
    made = [jobs.enqueue("test.work", charged_to=person and person.user, **more) for person in people]
    for number, job in enumerate(made):
        Job.objects.filter(pk=job.pk).update(created_at=timezone.now() + timedelta(seconds=number - 100))
    return made


def take(*, now=None):
    """A worker that begins the next job and is still at it."""
    return jobs.claim_next(QUEUE, now=now or timezone.now())


def work_off(most=20):
    """One worker that does one job after the other: the names of those whose they were."""
    names = []
    while len(names) < most and (lease := take()):
        names.append(str(lease.job.charged_to or "nobody"))
        jobs.finish(lease, Job.State.SUCCEEDED, "")
    return names


def test_one_who_brings_much_does_not_hold_up_the_others(alice, bob, charlie):
    """A queue was first come, first served: two hundred proposals of one were before the one of another."""
    queue_up(alice, alice, alice, alice, bob, bob, charlie)
    assert work_off() == ["alice", "bob", "charlie", "alice", "bob", "alice", "alice"]


def test_who_has_the_fewest_at_work_is_next_whoever_was_served_last(alice, bob):
    queue_up(bob, alice, alice, alice)
    first = take()
    long_ago = timezone.now() - timedelta(hours=5)
    Job.objects.filter(pk=first.job.pk).update(started_at=long_ago)  # his work takes hours
    queue_up(bob)
    assert [str(take().job.charged_to) for _ in range(4)] == ["alice", "bob", "alice", "alice"]


def test_of_one_persons_jobs_the_oldest_comes_first(alice, bob):
    made = queue_up(alice, alice, alice)
    assert [take().job.pk for _ in range(3)] == [job.pk for job in made]
    assert take() is None


def test_jobs_of_nobody_keep_their_order_and_wait_for_none_that_came_after_them(alice, bob):
    housekeeping = queue_up(alice, None, bob, None, alice)
    taken = [take().job.pk for _ in range(5)]
    assert taken == [job.pk for job in housekeeping]
    queue_up(None, alice, None)
    assert work_off() == ["nobody", "alice", "nobody"]


def test_a_job_that_is_to_wait_and_one_of_another_queue_take_nobodys_turn(alice, bob):
    queue_up(alice, delay_s=600)
    queue_up(alice, queue="other")
    (waiting,) = queue_up(bob)
    assert take().job.pk == waiting.pk and take() is None
    assert take(now=after(601)).job.charged_to == alice.user


def test_a_message_wakes_for_the_queue_and_not_for_the_job_it_was_sent_for(
    alice, bob, monkeypatch, django_capture_on_commit_callbacks
):
    messages = []
    monkeypatch.setattr(run_job, "apply_async", lambda args, **_: messages.append(args))
    done = []
    jobs.job_body("test.work", queue=QUEUE)(lambda lease: done.append(str(lease.job.charged_to)))
    with django_capture_on_commit_callbacks(execute=True):
        queue_up(alice, alice, alice, bob)
    for message in messages:
        run_job(*message)
    assert done == ["alice", "bob", "alice", "alice"]
    run_job(*messages[0])  # a message that comes twice finds nothing to do
    assert len(done) == 4


def test_a_message_of_an_older_hub_names_its_job_alone(alice):
    first, second = queue_up(alice, alice)
    run_job(str(second.pk))
    assert [Job.objects.get(pk=job.pk).state for job in (first, second)] == ["waiting", "succeeded"]


def test_a_page_counts_those_ahead_as_they_are_taken(alice, bob, charlie):
    """It counted by age: two hundred that are no longer before it, or none where four others are."""
    made = queue_up(alice, alice, None, alice, bob, bob, charlie, None)
    told = {job.pk: jobs.list_ahead(job).count() for job in made}
    order = []
    while lease := take():
        order.append(lease.job.pk)
        jobs.finish(lease, Job.State.SUCCEEDED, "")
    of_people = [job.pk for job in made if job.charged_to]
    counted = sorted(of_people, key=lambda pk: told[pk])
    assert counted == [pk for pk in order if pk in of_people]
    (last,) = queue_up(alice)
    (first,) = queue_up(bob)
    jobs.claim(str(last.pk), now=timezone.now())
    (behind,) = queue_up(alice)
    assert [jobs.list_ahead(job).count() for job in (first, behind)] == [1, 2]  # what is at work counts, too


def test_whose_turn_it_is_costs_the_same_however_many_wait(alice, bob, charlie, django_assert_num_queries):
    queue_up(*[alice, bob, charlie] * 3)
    with django_assert_num_queries(7):  # lines, at work, served, the oldest; claim, row, event
        take()
    queue_up(*[alice, bob, charlie] * 30)
    with django_assert_num_queries(7):
        take()


@pytest.mark.django_db(transaction=True)
def test_workers_that_meet_take_each_job_once_and_leave_none(alice, bob):
    queue_up(alice, alice, alice, bob, None, None)
    leases = at_once(*[take] * 6)
    assert len({lease.job.pk for lease in leases}) == 6
    assert not Job.objects.filter(queue=QUEUE, state=Job.State.WAITING).exists()
