"""Stands in for the broker, and registers bodies for one test."""

from unittest.mock import patch

import pytest


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Stands in for the broker: the ids of jobs that a message was sent for."""
    from hub.site.celery import run_job

    ids: list[str] = []
    monkeypatch.setattr(run_job, "apply_async", lambda args, **_: ids.append(args[0]))
    return ids


@pytest.fixture
def work():
    """`work(body)` registers a body under the kind "test.work" for this test; `work.ended` is what on_end saw."""
    from hub.common import jobs

    def register(body, **options):
        jobs.job_body("test.work", on_end=lambda job: register.ended.append((job.state, job.reason)), **options)(body)

    register.ended = []
    with patch.dict(jobs.bodies):
        yield register
