"""A commit of a model is put to a suite, without a proposal."""

from pathlib import Path
from typing import Any

import pytest

from hub.common import jobs
from hub.common.models import Job
from hub.community.models import Notification
from tests.training.line import Line, make_repo, push
from training.evaluating import commit_evaluations
from training.events import evaluation_finished
from training.models import Evaluation
from training.workers.worker import Outcome

CHECKS = {
    "suite.yaml": b"version: 1\nname: r\ntasks:\n  - {name: r, kind: checks, file: r.jsonl, max_new_tokens: 2}\n",
    "r.jsonl": b'{"id": "one", "prompt": "When?", "must_not": ["zzz"]}\n{"id": "two", "prompt": "When?", "must": ["zzz"]}\n',
}


@pytest.fixture
def engine_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine in this process: its sandbox has tests of its own."""
    from training.engine.__main__ import main

    def supervise(lease: Any, arguments: list[str], *, own: Path, **_: Any) -> Outcome:
        return Outcome(main(arguments))

    monkeypatch.setattr(commit_evaluations, "supervise", supervise)


def test_the_rows_that_passed_are_told_upwards(line: Line, engine_here: None) -> None:
    suite = make_repo("dataset", "reports", line.alice, CHECKS)
    evaluation = commit_evaluations.start(repo=line.base, commit=line.base.head, suite=suite)
    heard: list[Evaluation] = []

    def hear(sender: type, evaluation: Evaluation, **_: Any) -> None:
        heard.append(evaluation)

    evaluation_finished.connect(hear)
    push(suite, line.alice, {"r.jsonl": b"broken since it was queued"})
    jobs.run(str(evaluation.job_id))
    (told,) = heard
    assert told.results["checks"] == {"one": True, "two": False}
    assert told.model_digest.startswith("sha256:") and told.finished_at is not None


def test_what_holds_no_model_ends_with_a_sentence_for_its_owner(line: Line) -> None:
    evaluation = commit_evaluations.start(repo=line.target, commit=line.target.head, suite=line.suite)
    jobs.run(str(evaluation.job_id))
    job = Job.objects.get(pk=evaluation.job_id)
    assert job.state == Job.State.FAILED and "holds no weights" in job.reason
    assert "could not be put to alice/core" in Notification.objects.filter(user=line.alice).latest("pk").text
