"""Pairs of a stereotype and its counterpart: what a preference is, and when a model got worse."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from moderation.screens.bias import (
    WHOLE,
    compare_pairs,
    digest_of_pairs,
    list_worse,
    prefers_stereotype,
    shipped_pairs,
)

ROOT = Path(__file__).parents[3]


def scored(candidate: set[int], parent: set[int] | None = frozenset()) -> list[dict[str, Any]]:  # type: ignore[assignment]
    """The shipped pairs; the models prefer the stereotype in the pairs of these numbers."""
    rows = []
    for number, row in enumerate(shipped_pairs()):
        found = {"logprobs": [-20.0 + (1 if number in candidate else -1), -20.0], "tokens": [9, 9]}
        if parent is not None:
            found |= {"parent_logprobs": [-20.0 + (1 if number in parent else -1), -20.0], "parent_tokens": [9, 9]}
        rows.append({**row, **found})
    return rows


def test_the_shipped_pairs_differ_in_one_place_and_cover_seven_dimensions() -> None:
    pairs = shipped_pairs()
    counts = Counter(row["dimension"] for row in pairs)
    assert len(counts) == 7 and set(counts.values()) == {20} and len({row["id"] for row in pairs}) == len(pairs)
    for row in pairs:
        first, second = (text.split() for text in row["texts"])
        assert row["texts"][0] != row["texts"][1] and row["licence"] == "CC0-1.0"
        begin = next(at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
        left, right = first[begin:], second[begin:]
        while left and right and left[-1] == right[-1]:
            left, right = left[:-1], right[:-1]
        assert 1 <= len(left) <= 3 and 1 <= len(right) <= 3, row  # one word or name, with its article


@pytest.mark.parametrize(
    ("logprobs", "tokens", "expected"),
    [
        ([-10.0, -11.0], [5, 5], True),
        ([-11.0, -10.0], [5, 5], False),
        ([-10.0, -10.0], [5, 5], False),  # equally likely is no preference
        ([-12.0, -11.0], [6, 5], True),  # longer: -2 a token against -2.2
        ([-10.0, -12.0], [5, 7], False),  # shorter, and likelier by its sum alone
    ],
)
def test_a_preference_does_not_come_from_the_length(logprobs: list[float], tokens: list[int], expected: bool) -> None:
    assert prefers_stereotype(logprobs, tokens) is expected


def test_a_model_like_its_parent_passes_as_a_whole() -> None:
    half = set(range(0, 140, 2))
    report = compare_pairs(scored(half, half))
    assert report["verdict"] == "pass" and list_worse(report) == []
    whole, gender = report["dimensions"][WHOLE], report["dimensions"]["gender"]
    assert (whole["n"], whole["rate"], whole["parent_rate"], whole["difference"]) == (140, 0.5, 0.5, 0.0)
    assert gender["n"] == 20 and gender["low"] < 0.5 < gender["high"]
    assert report["pairs"] == digest_of_pairs(shipped_pairs())


def test_a_model_that_learnt_one_stereotype_is_worse_in_its_dimension() -> None:
    gender = {number for number, row in enumerate(shipped_pairs()) if row["dimension"] == "gender"}
    report = compare_pairs(scored(gender, set()))
    assert report["verdict"] == "fail" and list_worse(report) == ["gender"]
    entry = report["dimensions"]["gender"]
    assert entry["p"] == 2 / 2**20 and entry["p_holm"] == pytest.approx(8 * entry["p"])
    assert report["dimensions"]["age"]["verdict"] != "fail"


def test_a_little_of_everything_shows_in_all_pairs_together() -> None:
    report = compare_pairs(scored({number for number in range(140) if number % 10 == 0}, set()))
    assert list_worse(report) == [WHOLE] and report["verdict"] == "fail"


def test_fewer_stereotypes_are_never_worse_and_chance_is_no_pass() -> None:
    assert compare_pairs(scored(set(), set(range(140))))["verdict"] == "pass"
    by_luck = [{number for number in range(140) if number % 5 in kept} for kept in ((0, 1, 2), (2, 3, 4))]
    luck = compare_pairs(scored(*by_luck))  # 4 of 5 pairs changed, as many for the better
    assert luck["verdict"] == "insufficient"


def test_without_a_parent_nothing_is_compared() -> None:
    report = compare_pairs(scored(set(range(140)), None))
    assert report["verdict"] == "insufficient" and list_worse(report) == []
    assert report["dimensions"][WHOLE]["rate"] == 1.0 and report["dimensions"][WHOLE]["p_holm"] is None


def test_who_measured_the_likelihoods_gets_the_same_report(tmp_path: Path) -> None:
    rows = scored(set(range(0, 140, 3)), set(range(0, 140, 2)))
    for name, prefix in (("model", ""), ("parent", "parent_")):
        lines = [{"id": row["id"], **{key: row[prefix + key] for key in ("logprobs", "tokens")}} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "moderation.screens.bias", tmp_path / "model.jsonl", tmp_path / "parent.jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(compare_pairs(rows)))
