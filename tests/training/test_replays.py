"""Runs made again from their lock: who may ask, what it costs whom, what is compared, and what is remembered."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from hub.common import jobs
from hub.common.errors import Conflict, Forbidden, RepoNotFound
from hub.common.models import Job
from hub.community.models import PullRequest
from hub.repos.clearance import set_clearance
from hub.repos.models import Content
from tests.people import Person, make_person
from tests.training.line import Line, run_waiting_jobs
from training.engine import compare
from training.models import Evaluation, LedgerEntry, Replay, Run
from training.proposals.parents import read_inputs_lock
from training.running import replays
from training.running.outputs import keep_model
from training.running.replay_verdicts import judge
from training.workers.worker import Outcome

FOUND = {
    "tensors": 3, "equal": 1, "missing": [], "added": [], "reshaped": [], "largest": 2e-4, "largest_in": "w", "mean": 2e-6,
    "is_finite": True, "recorded_tensors": "sha256:a", "remade_tensors": "sha256:b", "other_files": [],
}  # fmt: skip
SCORE = {"suite": "alice/core", "recorded": 0.5, "remade": 0.505}


@pytest.mark.parametrize(
    ("change", "scores", "state"),
    [
        ({"remade_tensors": "sha256:a"}, [], "equal"),
        ({"remade_tensors": "sha256:a", "other_files": ["tokenizer.json"]}, [], "different"),
        ({}, [], "close"),
        ({}, [SCORE], "close"),
        ({}, [SCORE | {"remade": 0.52}], "different"),
        ({}, [SCORE, SCORE | {"remade": 0.48}], "different"),
        ({"largest": 2e-3}, [SCORE], "different"),
        ({"mean": 2e-5}, [SCORE], "different"),
        ({"is_finite": False}, [], "different"),
        ({"missing": ["w"]}, [], "different"),
        ({"added": ["w"]}, [], "different"),
        ({"reshaped": ["w"]}, [], "different"),
    ],
)
def test_equal_close_or_different(change: dict[str, Any], scores: list[Any], state: str) -> None:
    found, sentence = judge(FOUND | change, scores)
    assert found == state and sentence.endswith(".")


@pytest.fixture
def trained(line: Line, tiny_llama: Path) -> Run:
    """A run whose weights are those of the tiny llama, as if the engine had made them."""
    line.propose()
    run_waiting_jobs(kinds=("training.rebuild",))
    run = Run.objects.get()
    jobs.cancel(job=run.prepare_job, by=None)
    keep_model(run, tiny_llama, step=4, digest="sha256:" + "d" * 64)
    result = {"lock": read_inputs_lock(run), "seconds": 10, "steps": 4}
    Run.objects.filter(pk=run.pk).update(result=result, state="succeeded", finished_at=timezone.now())
    return Run.objects.select_related("repo").get()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> dict[str, Any]:
    """Stands in for training and scoring; comparing is real. `shift` moves a weight, `score` is what the suite gives."""
    import torch
    from safetensors.torch import load_file, save_file

    told: dict[str, Any] = {"shift": 0.0, "score": 0.5, "commands": []}

    def supervise(lease: Any, arguments: list[str], *, own: Path, reads: list[Path], **_: Any) -> Outcome:
        told["commands"].append(arguments[0])
        own.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "compare":
            return Outcome(compare.main(arguments[1:]))
        if arguments[0] == "evaluate":
            (own / "evaluation.json").write_text(json.dumps({"overall": {"score": told["score"]}}))
            return Outcome(0)
        shutil.copytree(tiny_llama, own / "model")
        weights = load_file(own / "model" / "model.safetensors")
        name = next(iter(weights))
        weights[name] = weights[name] + torch.tensor(told["shift"])
        save_file(weights, own / "model" / "model.safetensors")
        lock = json.loads((own.parent / "inputs" / "recipe.lock").read_text())
        lock |= {"device": "cpu: test", "versions": {"torch": "9.9"}}
        (own / "recipe.lock").write_text(json.dumps(lock))
        return Outcome(0)

    monkeypatch.setattr(replays, "supervise", supervise)
    return told


@pytest.fixture
def mona(scene: dict[str, Any]) -> Person:
    """A moderator without a part in anything."""
    return make_person("mona", is_moderator=True)


def carry_out(replay: Replay) -> Replay:
    jobs.run(str(replay.job_id))
    replay.refresh_from_db()
    return replay


def log_of(action: str) -> list[Any]:
    from moderation.models import AuditEntry

    return list(AuditEntry.objects.filter(action=action).order_by("number"))


def test_an_equal_replay_is_recorded_once_and_its_place_thrown_away(
    trained: Run, line: Line, engine: dict[str, Any], charlie: Person, client: Client
) -> None:
    replay = carry_out(replays.ask(run=trained, by=line.bob))
    assert (replay.state, engine["commands"]) == ("equal", ["run", "compare"]), replay.sentence
    found = replay.report["comparison"]
    assert found["recorded_tensors"] == found["remade_tensors"] and found["equal"] == found["tensors"] > 10
    assert replay.report["remade"] == {"device": "cpu: test", "versions": {"torch": "9.9"}}
    assert replay.report["tolerances"]["largest"] == 1e-3 and replay.report["lock"].startswith("sha256:")
    assert replay.asked_by == line.bob and replay.finished_at is not None
    assert not replays.folder_of(replay).exists()
    assert LedgerEntry.objects.get().user == line.bob
    asked, ended = log_of("replay.asked") + log_of("replay.ended")
    assert asked.actor == "bob" and ended.actor == "" and ended.data["outcome"] == "equal"
    assert ended.data["digests"]["remade_tensors"] == found["remade_tensors"]
    for change in ({"state": "different"}, {"sentence": "Other."}, {"report": {}}, {"finished_at": None}):
        with pytest.raises(IntegrityError, match="written once"), transaction.atomic():
            Replay.objects.filter(pk=replay.pk).update(**change)
    client.force_login(charlie.user)
    assert "Replayed: equal" in client.get(f"/runs/{trained.pk}").content.decode()
    page = client.get(f"/runs/{trained.pk}/replays").content.decode()
    assert found["remade_tensors"] in page and "cpu: test" in page and "Replay run" not in page
    told = client.get(f"/api/v1/runs/{trained.pk}").json()
    assert (told["replay"]["state"], told["replay"]["asked_by"]) == ("equal", "bob")
    (row,) = client.get(f"/api/v1/runs/{trained.pk}/replays").json()
    assert row["report"]["comparison"]["equal"] == found["equal"]


@pytest.mark.parametrize(
    ("shift", "score", "state"), [(1e-8, 0.5, "close"), (1e-8, 0.6, "different"), (1.0, 0.5, "different")]
)
def test_weights_that_differ_are_put_to_the_suites_again(
    trained: Run, line: Line, engine: dict[str, Any], shift: float, score: float, state: str
) -> None:
    Evaluation.objects.create(
        pull_request=trained.pull_request, repo=trained.repo, suite_repo=line.suite, suite_name="alice/core",
        suite_commit=line.suite.head, results={"overall": {"score": 0.5}}, finished_at=timezone.now(),
    )  # fmt: skip
    engine.update(shift=shift, score=score)
    replay = carry_out(replays.ask(run=trained, by=line.bob))
    assert replay.state == state and engine["commands"] == ["run", "compare", "evaluate"], replay.sentence
    (row,) = replay.report["evaluations"]
    assert (row["recorded"], row["remade"], row["commit"]) == (0.5, score, line.suite.head)
    assert "alice/core" in replay.sentence


def test_maintainers_pay_moderators_do_not_and_nobody_else_asks(
    trained: Run, line: Line, charlie: Person, mona: Person, announced: list[str]
) -> None:
    with pytest.raises(Forbidden, match="maintains the model"):
        replays.ask(run=trained, by=charlie.user)
    replay = replays.ask(run=trained, by=mona.user)
    job = Job.objects.get(pk=replay.job_id)
    assert (job.charged_to, job.budget_s) == (None, 4 * 10 + replays.SLACK_S)
    with pytest.raises(Conflict, match="being replayed already"):
        replays.ask(run=trained, by=line.bob)
    with pytest.raises(IntegrityError), transaction.atomic():
        Replay.objects.create(run=trained)
    jobs.cancel(job=job, by=mona.user)
    replay.refresh_from_db()
    assert replay.state == "failed" and not LedgerEntry.objects.exists()
    assert log_of("replay.ended")[0].data["outcome"] == "failed"
    assert replays.newest_compared(trained) is None  # what was broken off says nothing about the weights
    assert Job.objects.get(pk=replays.ask(run=trained, by=line.bob).job_id).charged_to == line.bob


def test_a_private_run_is_missing_and_one_without_weights_cannot_be_made_again(
    trained: Run, line: Line, charlie: Person
) -> None:
    type(trained.repo).objects.filter(pk=trained.repo_id).update(is_private=True)
    trained.repo.refresh_from_db()
    with pytest.raises(RepoNotFound):
        replays.ask(run=trained, by=charlie.user)
    Run.objects.update(state="failed")
    with pytest.raises(Conflict, match="no weights"):
        replays.ask(run=trained, by=line.bob)


def test_a_repository_is_replayed_so_often_a_day(trained: Run, line: Line) -> None:
    Replay.objects.bulk_create(Replay(run=trained, state="different") for _ in range(replays.MOST_A_DAY))
    with pytest.raises(Conflict, match="within a day"):
        replays.ask(run=trained, by=line.bob)


def test_withheld_data_is_not_trained_on_again(trained: Run, line: Line, engine: dict[str, Any]) -> None:
    content = Content.objects.get(repo=line.data, path="train.jsonl")
    set_clearance(contents=[content], clearance="withheld", reason="Copied.")
    replay = carry_out(replays.ask(run=trained, by=line.bob))
    assert (
        replay.state == "failed" and "An input was withheld since" in replay.sentence and "alice" not in replay.sentence
    )
    assert engine["commands"] == []


def test_the_button_and_the_command(
    trained: Run, line: Line, engine: dict[str, Any], charlie: Person, client: Client, capsys: Any
) -> None:
    place = f"/runs/{trained.pk}/replays"
    client.force_login(charlie.user)
    assert client.post(place).status_code == 403 and not Replay.objects.exists()
    assert client.post(f"/api/v1{place}").status_code == 403
    client.force_login(line.bob)
    page = client.get(place).content.decode()
    assert "It is charged to you" in page and "Nobody has had this run made again yet" in page
    assert client.post(place)["Location"] == place
    assert client.post(f"/api/v1{place}").status_code == 409
    assert "It waits for a worker." in client.get(place).content.decode()
    carry_out(Replay.objects.get())
    call_command("replay_run", str(trained.pk), "--here")
    assert "Equal: All" in capsys.readouterr().out and Replay.objects.latest("pk").asked_by is None
    engine["shift"] = 1.0
    with pytest.raises(CommandError, match="Different"):
        call_command("replay_run", str(trained.pk), "--here")
    with pytest.raises(CommandError, match="no run 999"):
        call_command("replay_run", "999")


@pytest.mark.slow
def test_a_small_run_on_a_cpu_is_made_again_bit_for_bit(prepared: PullRequest, line: Line) -> None:
    """With the real engine in its sandbox, from a place of its own."""
    run_waiting_jobs(kinds=("training.train",))
    run = Run.objects.get()
    replay = carry_out(replays.ask(run=run, by=line.bob))
    assert replay.state == "equal", replay.sentence
    found = replay.report["comparison"]
    assert found["recorded_tensors"] == found["remade_tensors"]
    assert found["recorded_model"] == found["remade_model"] == run.model_digest
    assert replay.report["recorded"] == replay.report["remade"] and replay.report["recorded"]["versions"]["torch"]
    assert not replays.folder_of(replay).exists()
