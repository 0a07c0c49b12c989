"""A judge is a model of the hub, and nobody is judged by what they may not read."""

from pathlib import Path
from typing import Any

import pytest

from hub.common.jobs import JobRefused
from hub.repos.lifecycle import update_settings
from tests.training.line import Line
from training.judges import arguments_of, lay_out_judges


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
        assert name in lay_out_judges(suite, line.alice)


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
