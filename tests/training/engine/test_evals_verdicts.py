"""Intervals and verdicts say what the size of a suite allows to say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from training.engine.evals.report import compare
from training.engine.evals.scoring import (
    RowScore,
)
from training.engine.evals.statistics import Estimate, judge, mean_difference, ratio, share_difference, wilson
from training.engine.evals.suite import Suite, Task

# Statistics


def test_wilson_intervals_are_the_published_ones() -> None:
    found = wilson(0.8, 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(1.0, 10).high == 1.0
    assert wilson(0.0, 10).low == 0.0


@pytest.mark.parametrize(("n", "wins", "losses"), [(12, 0.1, 0.1), (50, 0.2, 0.1), (200, 0.02, 0.05)])
def test_intervals_of_differences_hold_the_truth_in_19_of_20_cases(n: int, wins: float, losses: float) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.choice([1.0, 0.0, -1.0], p=[wins, 1 - wins - losses, losses], size=(300, n))
    hits = [e.low <= wins - losses <= e.high for e in (share_difference(row)[0] for row in drawn)]
    assert np.mean(hits) >= 0.92


def test_intervals_of_ratios_hold_the_truth_with_ten_texts() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        lengths = rng.uniform(100, 400, size=10)
        found = ratio(lengths * rng.normal(1.2, 0.2, size=10), lengths)
        hits.append(found.low <= 1.2 <= found.high)
    assert np.mean(hits) >= 0.92


def test_thirty_ties_are_no_proof_of_equality() -> None:
    found, _ = share_difference(np.zeros(30))
    assert found.value == 0
    assert found.low == pytest.approx(-found.high)
    assert 0.02 < found.high < 0.12
    assert share_difference(np.zeros(3000))[0].high < 0.002


def test_the_same_numbers_give_the_same_interval() -> None:
    rows = np.array([1.0, 0, 0, -1, 0.5, 0, 0, 0])
    assert share_difference(rows)[0] == share_difference(rows)[0]
    assert mean_difference([rows, -rows]) == mean_difference([rows, -rows])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.3, -0.02, "worse"),
        (-0.3, -0.01, "insufficient"),  # the bound itself does not count
        (-0.3, 0.2, "insufficient"),
        (-0.01, 0.2, "insufficient"),
        (-0.009, 0.2, "not_worse"),
        (0.1, 0.2, "not_worse"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, high: float, verdict: str) -> None:
    assert judge(Estimate((low + high) / 2, low, high), 0.01) == verdict


# Report


def make_scores(task: str, values: Sequence[float], weight: float = 1.0, slices: Sequence[str] | None = None) -> Any:
    names = slices or [task] * len(values)
    return [RowScore(task, name, i, v, weight, {}) for i, (name, v) in enumerate(zip(names, values, strict=True))]


def make_suite(*tasks: Task, margin: float = 0.01) -> Suite:
    return Suite(1, "S", tasks, margin, "sha256:0")


CHOICES = Task("c", "multiple_choice", "c.jsonl", "accuracy")
BITS = Task("p", "perplexity", "p.jsonl", "bits_per_byte")


def test_a_clear_loss_in_one_slice_is_worse_there_only() -> None:
    before = {"c": make_scores("c", [1.0] * 200, slices=["a", "b"] * 100)}
    after = {"c": make_scores("c", [0.0 if i % 2 and i < 80 else 1.0 for i in range(200)], slices=["a", "b"] * 100)}
    report = compare(make_suite(CHOICES, margin=0.05), after, before)
    assert [(s["slice"], s["verdict"]) for s in report["slices"]] == [("a", "not_worse"), ("b", "worse")]
    lost = report["slices"][1]
    assert (lost["difference"], lost["better"], lost["worse"], lost["ties"]) == (-0.4, 0, 40, 60)
    assert report["overall"]["verdict"] == "worse"


def test_fewer_bits_are_an_improvement() -> None:
    before = {"p": make_scores("p", [120.0 + i for i in range(8)], weight=100)}
    after = {"p": make_scores("p", [100.0 + i for i in range(8)], weight=100)}
    (found,) = compare(make_suite(BITS), after, before)["slices"]
    assert found["difference"] == pytest.approx(0.2)
    assert (found["verdict"], found["higher_is_better"], found["better"]) == ("not_worse", False, 8)
    (found,) = compare(make_suite(BITS), before, after)["slices"]
    assert (found["difference"], found["verdict"]) == (pytest.approx(-0.2), "worse")


def test_a_few_texts_never_suffice() -> None:
    scores = [{"p": make_scores("p", [bits] * 4, weight=100)} for bits in (100.0, 150.0)]
    (found,) = compare(make_suite(BITS), *scores)["slices"]
    assert found["verdict"] == "insufficient"


def test_the_same_weights_are_known_not_to_be_worse() -> None:
    scores = {"c": make_scores("c", [1.0, 0.0, 1.0])}
    assert compare(make_suite(CHOICES), scores, scores)["slices"][0]["verdict"] == "insufficient"
    report = compare(make_suite(CHOICES), scores, scores, same_weights=True)
    assert (report["slices"][0]["verdict"], report["overall"]["verdict"]) == ("not_worse", "not_worse")


def test_without_a_parent_there_is_no_verdict() -> None:
    report = compare(make_suite(CHOICES), {"c": make_scores("c", [1.0, 0.0])}, None)
    assert report["slices"][0]["score"] == 0.5
    assert report["slices"][0]["verdict"] is None and report["overall"]["verdict"] is None


def test_the_margin_is_the_recipes_else_the_tasks_else_the_suites() -> None:
    scores = {"c": make_scores("c", [1.0]), "p": make_scores("p", [9.0] * 2, weight=9)}
    suite = make_suite(CHOICES, Task("p", "perplexity", "p.jsonl", "bits_per_byte", margin=0.3), margin=0.2)
    margins = [s["margin"] for s in compare(suite, scores, scores)["slices"]]
    assert margins == [0.2, 0.3]
    assert [s["margin"] for s in compare(suite, scores, scores, margin=0.1)["slices"]] == [0.1, 0.1]


def test_perplexity_stays_out_of_a_mean_of_shares() -> None:
    scores = {"c": make_scores("c", [1.0, 1.0]), "p": make_scores("p", [500.0] * 6, weight=100)}
    overall = compare(make_suite(CHOICES, BITS), scores, None)["overall"]
    assert (overall["score"], overall["n"], overall["tasks"]) == (1.0, 2, 1)
    only_texts = compare(make_suite(BITS), {"p": scores["p"]}, None)["overall"]
    assert (only_texts["score"], only_texts["metric"]) == (5.0, "bits_per_byte")
