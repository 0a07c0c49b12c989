"""Nobody chooses their own judge: margins that count, and suites that stay."""

from typing import Any

import pytest
from django.test import Client

from hub.community.models import PullRequest
from hub.repos.places import pair
from tests.training.line import (
    CHOICES,
    SUITE,
    TEXTS,
    Line,
    as_jsonl,
    checks_of,
    make_repo,
    push,
    run_waiting_jobs,
    summary_of,
)
from training.engine.lock import parse_lock
from training.evaluating import evaluations
from training.evaluating.suites import newest_evaluations
from training.models import Evaluation, Run
from training.proposals.parents import read_inputs_lock
from training.proposals.recipes import propose

CORE = "evaluate: [{suite: alice/core@main}]"


def recipe(line: Line, evaluate: str, *, seed: int = 3) -> str:
    return line.recipe().replace(CORE, evaluate).replace("seed: 3", f"seed: {seed}")


def start_judging(line: Line, by: Any, evaluate: str) -> tuple[PullRequest, Run]:
    """The proposal as if it were trained, when its evaluation begins."""
    text = recipe(line, evaluate, seed=4)
    pull_request = propose(repo=line.target, by=by, recipe_text=text, title="Learn", door="tests").pull_request
    assert pull_request is not None
    run_waiting_jobs(kinds=("training.rebuild", "moderation"))
    pull_request.refresh_from_db()
    run = Run.objects.get(pull_request=pull_request, is_superseded=False)
    run.model_digest = f"sha256:{run.pk:064x}"
    run.save()
    evaluations.start(run)
    return pull_request, run


def margin_told_to_the_engine() -> float | None:
    job = Evaluation.objects.latest("pk").job
    assert job is not None
    margin: float | None = job.payload["margin"]
    return margin


@pytest.mark.parametrize(("asked", "counts"), [("1", None), ("0.21", None), ("0.2", 0.2), ("0.05", 0.05)])
def test_a_proposal_does_not_widen_the_margin_of_a_suite(line: Line, asked: str, counts: float | None) -> None:
    """With a margin of 1 every candidate was "not worse". None: the margins of the suite hold, here 0.2."""
    start_judging(line, line.alice, f"evaluate: [{{suite: alice/core@main, margin: {asked}}}]")
    assert margin_told_to_the_engine() == counts


def test_a_suite_that_states_no_margin_allows_a_hundredth(line: Line) -> None:
    push(line.suite, line.alice, {"suite.yaml": SUITE.replace("margin: 0.2\n", "").encode()})
    start_judging(line, line.alice, "evaluate: [{suite: alice/core@main, margin: 0.02}]")
    assert margin_told_to_the_engine() is None


@pytest.mark.parametrize(("asked", "counts"), [("0.5", 0.5), ("0.9", 0.5)])
def test_a_margin_counts_that_the_target_has_merged(line: Line, asked: str, counts: float) -> None:
    stated = recipe(line, "evaluate: [{suite: alice/core@main, margin: 0.5}]")
    push(line.target, line.alice, {"recipe.yaml": stated.encode()})
    start_judging(line, line.alice, f"evaluate: [{{suite: alice/core@main, margin: {asked}}}]")
    assert margin_told_to_the_engine() == counts


@pytest.mark.parametrize(
    "evaluate", ["", "evaluate: [{suite: alice/easy@main}]", "evaluate: [{suite: alice/core@old}]"]
)
def test_a_stranger_does_not_drop_a_suite_of_the_target(line: Line, charlie: Any, evaluate: str) -> None:
    from hub.repos.refs import create_branch

    files = {"suite.yaml": SUITE.encode(), "choices.jsonl": as_jsonl(CHOICES), "texts.jsonl": as_jsonl(TEXTS)}
    make_repo("dataset", "easy", line.alice, files)
    line.suite.refresh_from_db()
    create_branch(repo=line.suite, by=line.alice, name="old", start=line.suite.head)
    push(line.target, line.alice, {"recipe.yaml": line.recipe().encode()})
    pull_request, _ = start_judging(line, charlie.user, evaluate)
    assert checks_of(pull_request)["evaluate"] == "failed"
    assert "drops the suite alice/core@main of main" in summary_of(pull_request, "evaluate")
    assert not Evaluation.objects.exists()
    pull_request, _ = start_judging(line, line.bob, evaluate)  # who may write decides what judges
    assert checks_of(pull_request)["evaluate"] in ("running", "passed")


def test_a_suite_at_a_second_revision_does_not_hide_the_first(line: Line) -> None:
    """Verdicts were told apart by the name of the suite, and the last one stood."""
    old = pair(line.suite).members.resolve("main")
    push(line.suite, line.alice, {"suite.yaml": SUITE.replace("core", "harder").encode()})
    _, run = start_judging(line, line.alice, f"evaluate: [{{suite: alice/core@main}}, {{suite: 'alice/core@{old}'}}]")
    judged = newest_evaluations(run, parse_lock(read_inputs_lock(run)))
    assert [row.suite_commit for row in judged] == [pair(line.suite).members.resolve("main"), old]


HARNESS = """\
task: tides
output_type: multiple_choice
test_split: test
dataset_path: json
dataset_kwargs: {data_files: {test: rows.jsonl}}
process_docs: !function utils.process
doc_to_text: "{{question}}"
doc_to_choice: [a, b]
doc_to_target: 0
tidy: true
"""


def test_a_suite_that_cannot_be_read_is_refused_before_any_training(line: Line) -> None:
    """It was read by the evaluation alone, after the training was paid for."""
    line.propose()
    whole = {"suite.yaml": b"version: 1\nname: T\ntasks: [{name: t, kind: harness, file: tides.yaml}]\n"}
    push(line.suite, line.alice, whole | {"tides.yaml": HARNESS.encode(), "rows.jsonl": b'{"question": "When?"}\n'})
    client = Client()
    client.force_login(line.alice)
    form = {"recipe": line.recipe(), "act": "check"}
    refused = client.post("/alice/tides/propose/recipe", form)
    said = refused.content.decode()
    assert refused.status_code == 400 and "The suite alice/core@main cannot be read" in said
    assert "tides.yaml:6:" in said and "process_docs" in said and "tides.yaml:10:" in said and "tidy" in said
    run_waiting_jobs(kinds=("training.rebuild",))
    pull_request = PullRequest.objects.get()
    assert checks_of(pull_request)["prepare"] == "failed" and not Run.objects.exists()
    assert "tides.yaml:10:" in summary_of(pull_request, "prepare")
