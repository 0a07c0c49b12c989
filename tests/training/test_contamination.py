"""The share of a suite's items that a run has seen stands beside their scores, for the commit that was compared."""

from typing import Any

import pytest

from training.evaluating.contamination import add_contamination
from training.models import Run

COUNTS = {
    "choices.jsonl": {"items": 12, "compared": 10, "seen": 1},
    "texts.jsonl": {"items": 6, "compared": 6, "seen": 3},
    "notes.jsonl": {"items": 9, "compared": 9, "seen": 9},  # of no task
}


def results() -> dict[str, Any]:
    slices = [{"slice": name, "task": task} for name, task in (("odd", "a"), ("even", "a"), ("texts", "b"))]
    return {
        "overall": {"slice": "overall", "task": None},
        "slices": slices,
        "task_files": {"a": ["choices.jsonl"], "b": ["texts.jsonl"]},
    }


def shares(found: dict[str, Any]) -> list[float | None]:
    return [part.get("contaminated") for part in [found["overall"], *found["slices"]]]


@pytest.mark.parametrize(
    ("name", "commit", "counts", "expected"),
    [
        ("Alice/Core", "c1", COUNTS, [0.25, 0.1, 0.1, 0.5]),
        ("alice/core", "c2", COUNTS, [None] * 4),
        ("alice/other", "c1", COUNTS, [None] * 4),
        ("alice/core", "c1", {"texts.jsonl": COUNTS["texts.jsonl"]}, [None, None, None, 0.5]),
        ("alice/core", "c1", {"texts.jsonl": {"items": 3, "compared": 0, "seen": 0}}, [None] * 4),
    ],
)
def test_each_part_has_the_share_of_its_task(name: str, commit: str, counts: Any, expected: list[float | None]) -> None:
    run = Run(result={"contamination": [{"suite": "alice/core", "commit": "c1", "files": counts}]})
    found = results()
    add_contamination(found, run, name, commit)
    assert shares(found) == expected


def test_what_an_earlier_version_made_has_none() -> None:
    found = {key: value for key, value in results().items() if key != "task_files"}
    add_contamination(found, Run(result={}), "alice/core", "c1")
    assert shares(found) == [None] * 4


def test_the_share_stands_in_a_column_of_the_evaluation() -> None:
    from django.template.loader import render_to_string

    from training.models import Evaluation

    found = results()
    for part in [found["overall"], *found["slices"]]:
        part |= {"metric": "accuracy", "n": 10, "score": 0.5, "low": 0.4, "high": 0.6}
    evaluation = Evaluation(suite_name="alice/core", suite_commit="c1" * 20, results=found)
    row = {"evaluation": evaluation, "rows": [found["overall"], *found["slices"]], "has_parent": False}
    assert "Seen in training" not in render_to_string("training/evaluation.html", {"row": row})
    counts = {"choices.jsonl": COUNTS["choices.jsonl"]}
    run = Run(result={"contamination": [{"suite": "alice/core", "commit": "c1", "files": counts}]})
    add_contamination(found, run, "alice/core", "c1")
    page = render_to_string("training/evaluation.html", {"row": row})
    assert page.count('data-label="Seen in training"') == 4 and page.count("10%") == 2 and page.count("not known") == 2
