"""What the hub measured stands on leaderboards with its interval, its run, and a command that measures the same again."""

import shlex
from pathlib import Path
from typing import Any

import yaml
from django.test import Client
from django.utils import timezone
from huggingface_hub import snapshot_download

from tests.training.line import Line, push
from training.engine.__main__ import main as run_engine
from training.models import Evaluation, Run
from training.running.outputs import evaluation_rows, write_evaluation

PATH = "/datasets/alice/core/leaderboard"


def part(name: str, score: float, low: float, high: float, **more: Any) -> dict[str, Any]:
    given = {"slice": name, "task": name, "metric": "accuracy", "n": 12, "score": score, "low": low, "high": high}
    return {**given, "higher_is_better": True, "parent_score": None, "verdict": None, **more}


def measured(line: Line, score: float, *, name: str = "tiny", **more: Any) -> Evaluation:
    """A merged proposal whose weights are those of alice/tiny, and its results at the head of the model."""
    from hub.community.models import Discussion, PullRequest
    from hub.repos.models import Repo

    repo = Repo.objects.get(name=name)
    discussion = Discussion.objects.create(
        repo=repo, number=repo.next_number, title="Learn", author=line.alice, is_pull_request=True, status="merged"
    )
    pull_request = PullRequest.objects.create(discussion=discussion, target="main", merge_commit=repo.head)
    digest = f"sha256:{discussion.pk:064x}"
    Run.objects.create(
        repo=repo, pull_request=pull_request, input_commit=repo.head, recipe_digest="x", model_digest=digest,
        state=Run.State.SUCCEEDED,
    )  # fmt: skip
    whole = part("overall", score, score - 0.1, score + 0.1, metric="mean")
    texts = part("texts", 3.5, 3.0, 4.0, higher_is_better=False, metric="bits_per_byte")
    evaluation = Evaluation.objects.create(
        repo=repo, pull_request=pull_request, model_digest=digest, suite_repo=line.suite, suite_name="alice/core",
        suite_commit=line.suite.head, finished_at=timezone.now(),
        results={"overall": whole, "slices": [part("choices", score, score - 0.2, score + 0.2, **more), texts]},
    )  # fmt: skip
    push(repo, line.alice, {".eval_results/alice--core.yaml": write_evaluation(evaluation).encode()})
    return evaluation


def test_results_are_written_as_the_stock_client_reads_them(line: Line, client_of: Any) -> None:
    line.suite.refresh_from_db()
    evaluation = measured(line, 0.5)
    entries = client_of(None).model_info("alice/tiny", expand=["evalResults"]).eval_results
    assert [(entry.task_id, entry.value) for entry in entries] == [("overall", 0.5), ("choices", 0.5)]
    assert entries[0].dataset_id == "alice/core" and entries[0].dataset_revision == line.suite.head
    assert "95% interval 0.300 to 0.700" in entries[1].notes and evaluation.model_digest[:19] in entries[1].notes
    ranked = client_of(None).get_dataset_leaderboard("alice/core")
    assert [(entry.rank, entry.model_id) for entry in ranked] == [(1, "alice/tiny")]


def test_a_number_that_somebody_writes_is_not_called_measured(line: Line) -> None:
    line.suite.refresh_from_db()
    measured(line, 0.5)
    claim = yaml.dump([{"dataset": {"id": "alice/core", "task_id": "overall"}, "value": 0.9}])
    push(line.target, line.alice, {".eval_results/mine.yaml": claim.encode()})
    page = Client().get(f"{PATH}?task=overall").content.decode()
    assert page.count("Measured here,") == 1 and page.count("not verified") == 1 and page.count("Measure it again") == 1
    assert f"/runs/{Run.objects.get().pk}" in page
    Run.objects.get().pull_request.discussion.__class__.objects.update(status="open")
    assert "Measured here," not in Client().get(PATH).content.decode()


def test_the_command_measures_the_same_again(line: Line, hub_url: str, tmp_path: Path) -> None:
    """Downloaded by the stock client at the commits that it names, evaluated by the engine of this checkout."""
    from training.engine.evals import evaluate
    from training.workers.materials import lay_out

    line.suite.refresh_from_db()
    line.base.refresh_from_db()
    lay_out(line.base, line.base.head, tmp_path / "first")
    lay_out(line.suite, line.suite.head, tmp_path / "asked")
    first = evaluate(
        suite_folder=tmp_path / "asked", model_folder=tmp_path / "first", parent_folder=None, out=tmp_path / "before"
    )
    measured(line, first["overall"]["score"])
    from hub.community.leaderboards import make_boards, measures_of, rows_of
    from hub.web.leaderboards import write_command

    rows = rows_of(line.suite, stranger())
    place = make_boards(rows, measures=measures_of(line.suite, rows))["overall"][0]
    clone, export, suite, model, command = write_command(place, line.suite, hub_url).splitlines()
    assert clone.startswith("cd ")
    assert export == f"export HF_ENDPOINT={hub_url}"
    for text in (suite, model):
        words = shlex.split(text)
        assert words[:2] == ["hf", "download"]
        options = dict(zip(words[3::2], words[4::2], strict=True))
        snapshot_download(
            words[2], repo_type=options.get("--repo-type"), revision=options["--revision"], endpoint=hub_url,
            local_dir=tmp_path / options["--local-dir"], token=False,
        )  # fmt: skip
    words = shlex.split(command)
    assert words[:3] == [".venv/bin/python", "-m", "training.engine"]
    assert run_engine([str(tmp_path / word) if word in ("suite", "model", "out") else word for word in words[3:]]) == 0
    again = yaml.safe_load((tmp_path / "out" / "evaluation.json").read_text())
    assert again["overall"]["score"] == place.result.value


def stranger() -> Any:
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def test_a_slice_is_a_name_in_the_card_and_nothing_more() -> None:
    part = {"slice": "[calm](//evil.example) | <b>", "score": 0.5, "low": 0.4, "high": 0.6, "verdict": "not_worse"}
    (row,) = evaluation_rows(Evaluation(suite_name="tidewatch/core", results={"slices": [part]}))
    name = r"\[calm\](//evil.example) \| \<b\>"
    assert row == f"| tidewatch/core | {name} | 0.500 | 0.400 to 0.600 | - | not worse |"
