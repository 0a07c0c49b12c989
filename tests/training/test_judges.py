"""A judge is a model of the hub, and nobody is judged by what they may not read."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.common.jobs import JobRefused
from hub.repos.lifecycle import update_settings
from tests.training.line import Line
from training.evaluating.judges import arguments_of, lay_out_judges


def write_suite(folder: Path, judge: str) -> Path:
    folder.mkdir(exist_ok=True)
    task = f"{{name: duels, kind: pairwise, file: duels.jsonl, judge: {judge}}}"
    (folder / "suite.yaml").write_text(f"version: 1\nname: d\ntasks:\n  - {task}\n")
    return folder


def test_who_may_read_the_judge_is_judged_by_it(line: Line, tmp_path: Path) -> None:
    line.base.refresh_from_db()
    name = f"alice/tiny@{line.base.head}"
    suite = write_suite(tmp_path / "suite", name)
    (found,) = lay_out_judges(suite, None).items()
    assert found[0] == name and (found[1] / "model.safetensors").is_file()
    assert arguments_of(dict([found])) == ["--judge", f"{name}={found[1]}"]
    for change in ({"is_private": True}, {"is_private": False, "gated": "manual"}):
        update_settings(repo=line.base, by=line.alice, **change)
        for person in (None, line.bob):
            with pytest.raises(JobRefused, match="cannot be asked"):
                lay_out_judges(suite, person)
        with pytest.raises(JobRefused, match="cannot be asked"):
            lay_out_judges(suite, line.alice, line.bob)
        assert name in lay_out_judges(suite, line.alice)


def test_a_judge_is_asked_only_when_all_behind_the_proposal_may_read_it(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bob pushes to Alice's proposal a suite whose judge is a private model of hers."""
    from tests.training.line import push, run_waiting_jobs
    from training.evaluating import evaluations
    from training.models import Evaluation, Run

    pull_request = line.propose()
    push(line.target, line.bob, {"notes.md": b"hers"}, revision=pull_request.ref)
    run_waiting_jobs(kinds=("training.rebuild",))
    asked: list[tuple[Any, ...]] = []

    def stop(suite: Path, *people: Any) -> None:
        asked.append(people)
        raise JobRefused("Enough.")

    monkeypatch.setattr(evaluations, "lay_out_judges", stop)
    monkeypatch.setattr(evaluations, "model_folder", lambda *_: Path("unused"))
    run = Run.objects.get(is_superseded=False)
    line.suite.refresh_from_db()
    evaluation = Evaluation.objects.create(
        pull_request=pull_request, repo=run.repo, suite_repo=line.suite, suite_name="s", suite_commit=line.suite.head
    )
    lease: Any = SimpleNamespace(payload={"evaluation_id": evaluation.pk, "run_id": run.pk})
    with pytest.raises(JobRefused, match="Enough"):
        evaluations.carry_out(lease)
    assert asked == [(line.alice, line.bob)]


@pytest.mark.parametrize(
    ("judge", "words"),
    [("alice/none@" + "a" * 40, "cannot be asked"), ("alice/tiny@" + "a" * 40, "cannot be asked")],
)
def test_a_judge_that_is_not_there_ends_the_job_with_a_sentence(
    line: Line, tmp_path: Path, judge: str, words: str
) -> None:
    with pytest.raises(JobRefused, match=words):
        lay_out_judges(write_suite(tmp_path / "suite", judge), line.alice)


def test_what_holds_no_weights_judges_nothing(line: Line, tmp_path: Path) -> None:
    line.target.refresh_from_db()
    with pytest.raises(JobRefused, match="holds no weights"):
        lay_out_judges(write_suite(tmp_path / "suite", f"alice/tides@{line.target.head}"), line.alice)


def test_a_suite_without_judges_needs_none(line: Line, tmp_path: Path) -> None:
    tmp_path.joinpath("suite.yaml").write_text(
        "version: 1\nname: d\ntasks: [{name: t, kind: perplexity, file: t.jsonl}]\n"
    )
    nothing: dict[str, Any] = {}
    assert lay_out_judges(tmp_path, None) == nothing == lay_out_judges(tmp_path / "missing", None)
