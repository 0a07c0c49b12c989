"""Scores of candidate and parent side by side: per slice and over all, with intervals and a verdict.

Differences are oriented: above 0 the candidate is better, for bits per byte too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.engine.evals.scoring import RowScore
from training.engine.evals.statistics import (
    Estimate,
    Floats,
    judge,
    mean_difference,
    mean_of_means,
    ratio,
    share_difference,
    wilson,
)
from training.engine.evals.suite import LOWER_IS_BETTER, Suite, Task

MIN_TEXTS = 5  # resampling fewer texts says nothing
ASKED = ("id", "context", "question", "choices", "answer", "prompt", "answers", "must", "must_not", "at_least")
MAX_LOGGED_CHARACTERS = 2000

Scores = dict[str, list[RowScore]]  # task -> its rows in order


def compare(
    suite: Suite, candidate: Scores, parent: Scores | None, *, margin: float | None = None, same_weights: bool = False
) -> dict[str, Any]:
    """{"slices": [...], "overall": {...}}; numbers of the parent are None where there is none.

    `margin` replaces those of the suite. `same_weights`: candidate and parent are one, the difference is exactly 0."""
    slices = []
    for task in suite.tasks:
        allowed = _choose_margin(suite, task, margin)
        for name, rows in split_slices(candidate[task.name]).items():
            before = split_slices(parent[task.name])[name] if parent else None
            slices.append(_compare_slice(task, name, rows, before, allowed, same_weights))
    overall = _compare_overall(suite, candidate, parent, margin, same_weights)
    return {"slices": slices, "overall": overall}


def split_slices(rows: Sequence[RowScore]) -> dict[str, list[RowScore]]:
    """Rows by slice, slices in the order they first appear."""
    found: dict[str, list[RowScore]] = {}
    for row in rows:
        found.setdefault(row.slice, []).append(row)
    return found


def _choose_margin(suite: Suite, task: Task, margin: float | None) -> float:
    if margin is not None:
        return margin
    return suite.margin if task.margin is None else task.margin


def _compare_slice(
    task: Task, name: str, rows: list[RowScore], before: list[RowScore] | None, margin: float, same_weights: bool
) -> dict[str, Any]:
    lower = task.metric in LOWER_IS_BETTER
    record: dict[str, Any] = {
        "slice": name,
        "task": task.name,
        "metric": task.metric,
        "higher_is_better": not lower,
        "n": len(rows),
        **_name(_estimate(task, rows), "score", "low", "high"),
    }
    if before is None:
        return {**record, **_no_parent(), "margin": margin}
    gains, weights = _pair(rows, before, lower)
    difference = ratio(gains, weights) if lower and len(rows) > 1 else share_difference(gains / weights)[0]
    enough = not lower or len(rows) >= MIN_TEXTS
    return {
        **record,
        **_name(_estimate(task, before), "parent_score", "parent_low", "parent_high"),
        **_describe_difference(difference, gains, margin, same_weights, enough),
    }


def _compare_overall(
    suite: Suite, candidate: Scores, parent: Scores | None, margin: float | None, same_weights: bool
) -> dict[str, Any]:
    """Mean over tasks of their scores from 0 to 1. Perplexity has another unit: it counts where it is all there is."""
    tasks = [task for task in suite.tasks if task.metric not in LOWER_IS_BETTER]
    allowed = suite.margin if margin is None else margin
    if not tasks:
        task, rows = suite.tasks[0], [row for task in suite.tasks for row in candidate[task.name]]
        before = [row for task in suite.tasks for row in parent[task.name]] if parent else None
        return _compare_slice(task, "overall", rows, before, allowed, same_weights) | {"tasks": len(suite.tasks)}
    record = {
        "slice": "overall",
        "task": None,
        "metric": "mean",
        "higher_is_better": True,
        "tasks": len(tasks),
        "n": sum(len(candidate[task.name]) for task in tasks),
        **_name(mean_of_means([_values(candidate[t.name]) for t in tasks]), "score", "low", "high"),
    }
    if parent is None:
        return {**record, **_no_parent(), "margin": allowed}
    groups = [_pair(candidate[task.name], parent[task.name], False)[0] for task in tasks]
    estimate = mean_of_means([_values(parent[task.name]) for task in tasks])
    return {
        **record,
        **_name(estimate, "parent_score", "parent_low", "parent_high"),
        **_describe_difference(mean_difference(groups), np.concatenate(groups), allowed, same_weights, True),
    }


def _describe_difference(
    difference: Estimate, gains: Floats, margin: float, same_weights: bool, enough: bool
) -> dict[str, Any]:
    if same_weights:
        difference = Estimate(0.0, 0.0, 0.0)
    return {
        **_name(difference, "difference", "diff_low", "diff_high"),
        "better": int((gains > 0).sum()),
        "worse": int((gains < 0).sum()),
        "ties": int((gains == 0).sum()),
        "margin": margin,
        "verdict": judge(difference, margin) if enough or same_weights else "insufficient",
    }


def _no_parent() -> dict[str, Any]:
    names = ("parent_score", "parent_low", "parent_high", "difference", "diff_low", "diff_high")
    return dict.fromkeys((*names, "better", "worse", "ties", "verdict"))


def _estimate(task: Task, rows: Sequence[RowScore]) -> Estimate:
    if task.kind == "pairwise":  # halves and quarters of wins are no share of a count
        return mean_of_means([_values(rows)])
    if task.metric not in LOWER_IS_BETTER:
        return wilson(float(_values(rows).mean()), len(rows))
    bits, lengths = np.array([r.score for r in rows]), np.array([r.weight for r in rows])
    if len(rows) == 1:  # one text has no spread to tell an interval from
        return Estimate(*[float(bits[0] / lengths[0])] * 3)
    return ratio(bits, lengths)


def _pair(rows: Sequence[RowScore], before: Sequence[RowScore], lower: bool) -> tuple[Floats, Floats]:
    """Gains of the candidate and the weights of the rows; raises ValueError when the rows are not the same ones."""
    if [r.row for r in rows] != [r.row for r in before]:
        raise ValueError("candidate and parent were asked different rows")
    gains = np.array([r.score - b.score for r, b in zip(rows, before, strict=True)])
    return (-gains if lower else gains), np.array([r.weight for r in rows])


def _values(rows: Sequence[RowScore]) -> Floats:
    return np.array([row.score for row in rows], dtype=np.float64)


def _name(estimate: Estimate, value: str, low: str, high: str) -> dict[str, float]:
    return {value: round(estimate.value, 6), low: round(estimate.low, 6), high: round(estimate.high, 6)}


def list_checks(suite: Suite, candidate: Scores) -> dict[str, bool]:
    """Of each row of the tasks of kind checks, by its id, whether it passed; rows of one id pass together."""
    found: dict[str, bool] = {}
    for task in suite.tasks:
        for scored in candidate[task.name] if task.kind == "checks" else ():
            key = task.rows[scored.row]["id"]
            found[key] = found.get(key, True) and scored.score == 1
    return found


def write_samples(path: Path, suite: Suite, candidate: Scores, parent: Scores | None) -> None:
    """samples.jsonl: every row with what was asked, what each model gave, and the scores."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as writer:
        for sample in _list_samples(suite, candidate, parent):
            writer.write(json.dumps(sample, ensure_ascii=False) + "\n")
    os.replace(draft, path)


def _list_samples(suite: Suite, candidate: Scores, parent: Scores | None) -> Iterator[dict[str, Any]]:
    for task in suite.tasks:
        for number, scored in enumerate(candidate[task.name]):
            row = task.rows[scored.row]
            before = parent[task.name][number] if parent else None
            yield {
                "task": task.name,
                "slice": scored.slice,
                "row": scored.row,
                "kind": task.kind,
                **{name: row[name] for name in ASKED if name in row},
                **({"text": row["text"][:MAX_LOGGED_CHARACTERS]} if "text" in row else {}),
                "score": scored.score,
                "weight": scored.weight,
                "candidate": scored.log,
                "parent_score": before.score if before else None,
                "parent": before.log if before else None,
            }
