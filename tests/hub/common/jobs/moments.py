"""Short words for what tests of jobs do."""

from datetime import timedelta

from django.utils import timezone

from hub.common import jobs


def start(**more):
    job = jobs.enqueue("test.work", **more)
    return job, jobs.claim(str(job.pk), now=timezone.now())


def states(job):
    return [event.data["state"] for event in job.events.filter(kind="state")]


def after(seconds):
    return timezone.now() + timedelta(seconds=seconds)
