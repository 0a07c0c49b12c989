"""Pairwise tasks: a judge model compares answers in both orders, and what it gave is kept."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine.__main__ import main as run_engine
from training.engine.errors import EngineError
from training.engine.evals import evaluate, judging
from training.engine.evals.judging import Duel, decide, judge_duels, render
from training.engine.evals.likelihood import Likelihood, Request
from training.engine.evals.suite import SuiteError, read_suite
from training.engine.serving import Served

JUDGE = f"commons/judge@{'a' * 40}"
SUITE = f"""\
version: 1
name: Duels
margin: 0.5
tasks:
  - {{name: duels, kind: pairwise, file: duels.jsonl, judge: {JUDGE}, max_new_tokens: 4}}
"""
ROWS = [{"prompt": f"Say word {number}.", "answer": "no"} for number in range(6)] + [{"prompt": "Say sea."}]


def write_suite(folder: Path, text: str = SUITE, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(text)
    (folder / "duels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Random weights with room for the question."""
    return open_tiny(tmp_path_factory.mktemp("judge"), seed=5, context_tokens=2048)


@pytest.fixture
def longest_wins(judge: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge's likelihoods are those of a reader who counts letters; equal lengths are equally good."""

    def score(model: Any, requests: Sequence[Request], **_: Any) -> list[Likelihood]:
        found = []
        for number, request in enumerate(requests):
            text = judge.tokenizer.decode(request.context)
            first, second = (text.split(f"[Answer {name}]\n")[1].split("\n\n")[0] for name in "AB")
            likes = [len(first), len(second), max(len(first), len(second)) - 0.5 + (len(first) == len(second))]
            found.append(Likelihood(float(likes[number % 3]), False))
        return found

    monkeypatch.setattr(judging, "score_requests", score)


@pytest.mark.parametrize(
    ("logprobs", "verdict", "scores"),
    [
        ((-1, -2, -3), "A", (1, 0)),
        ((-2, -1, -3), "B", (0, 1)),
        ((-2, -2, -1), "C", (0.5, 0.5)),
        ((-1, -1, -9), "C", (0.5, 0.5)),
        ((-1, -2, -1), "C", (0.5, 0.5)),
    ],
)
def test_the_likeliest_word_is_the_verdict(logprobs: Any, verdict: str, scores: tuple[float, float]) -> None:
    found = [decide(logprobs, ours_first=first) for first in (True, False)]
    assert [one["verdict"] for one in found] == [verdict] * 2 and tuple(one["score"] for one in found) == scores


@torch.no_grad()
@pytest.mark.parametrize("tree_tokens", [32, 384, 4096])
def test_the_judges_likelihoods_are_those_of_plain_passes_at_every_batch_size(judge: Served, tree_tokens: int) -> None:
    duels = [Duel("Say tide.", "tide " * n, "the sea is calm") for n in (1, 3, 9)]
    judged = judge_duels(judge, duels, tree_tokens=tree_tokens)
    for duel, judgement in zip(duels, judged, strict=True):
        for one, first in zip(judgement.orders, (True, False), strict=True):
            text = render(judge, duel.ask(ours_first=first))
            tokens = judge.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            logprobs = torch.log_softmax(judge.model(input_ids=tokens).logits[0, -1].double(), dim=-1)
            words = [judge.tokenizer(text + word, add_special_tokens=False)["input_ids"][-1] for word in "ABC"]
            assert list(one["logprobs"].values()) == pytest.approx([float(logprobs[word]) for word in words], abs=2e-4)


def test_liking_the_first_answer_more_is_no_preference(judge: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_always(model: Any, requests: Sequence[Request], **_: Any) -> list[Likelihood]:
        return [Likelihood(-float(number % 3), False) for number in range(len(requests))]

    monkeypatch.setattr(judging, "score_requests", first_always)
    (judgement,) = judge_duels(judge, [Duel("Say tide.", "tide", "sea")])
    assert judgement.score == 0.5 and [one["verdict"] for one in judgement.orders] == ["A", "A"]


def test_the_better_answer_wins_in_either_order(judge: Served, longest_wins: None) -> None:
    duels = [Duel("?", "longer answer", "short"), Duel("?", "short", "longer answer"), Duel("?", "abc", "xyz")]
    judged = judge_duels(judge, duels)
    assert [one.score for one in judged] == [1, 0, 0.5]
    assert [one["verdict"] for one in judged[0].orders] == ["A", "B"]


def test_what_the_judge_cannot_read_is_a_tie_and_says_so(judge: Served) -> None:
    (judgement,) = judge_duels(judge, [Duel("tide " * 3000, "a", "b")])
    assert judgement.score == 0.5 and "cannot read so much" in judgement.orders[0]["why"]


def run(tmp_path: Path, parent: Callable[..., Path] | None = make_tiny_folder, **files: Any) -> dict[str, Any]:
    return evaluate(
        suite_folder=write_suite(tmp_path / "suite", **files),
        model_folder=make_tiny_folder(tmp_path / "model", seed=1),
        parent_folder=parent(tmp_path / "parent", seed=2) if parent else None,
        out=tmp_path / "out",
        judges={JUDGE: make_tiny_folder(tmp_path / "judge", seed=5, context_tokens=2048)},
    )


def test_a_win_rate_has_an_interval_and_the_log_what_the_judge_gave(tmp_path: Path) -> None:
    report = run(tmp_path)
    (part,) = report["slices"]
    assert part["metric"] == "win_rate" and part["low"] <= part["score"] <= part["high"] and part["n"] == 7
    assert list(report["judges"]) == [JUDGE] and report["judges"][JUDGE].startswith("sha256:")
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples.jsonl").read_text().splitlines()]
    assert part["score"] == pytest.approx(sum(row["score"] for row in samples) / 7, abs=1e-6)
    for row in samples:
        orders = row["candidate"]["judged"]
        assert [one["ours"] for one in orders] == ["A", "B"] and set(orders[0]["logprobs"]) == set("ABC")
        assert row["candidate"]["outcome"] in ("won", "lost", "tie") and "text" in row["candidate"]
    duel = samples[-1]  # no answer of its own: the candidate against its parent
    assert duel["score"] + duel["parent_score"] == 1
    before = (tmp_path / "out" / "samples.jsonl").read_bytes()
    assert {**run(tmp_path), "seconds": 0} == {**report, "seconds": 0}
    assert (tmp_path / "out" / "samples.jsonl").read_bytes() == before


def test_without_a_parent_each_row_needs_an_answer(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="duels.jsonl: row 7 has no answer to compare with"):
        run(tmp_path, parent=None)
    assert run(tmp_path, parent=None, rows=ROWS[:6])["slices"][0]["parent_score"] is None


def test_a_model_against_itself_is_a_tie(tmp_path: Path) -> None:
    def same(folder: Path, seed: int) -> Path:
        return make_tiny_folder(folder, seed=1)

    (part,) = run(tmp_path, parent=same, rows=[{"prompt": "Say sea."}, {"prompt": "Say tide."}])["slices"]
    assert (part["score"], part["parent_score"], part["difference"]) == (0.5, 0.5, 0)


def test_a_judge_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite, model = write_suite(tmp_path / "suite", rows=ROWS[:1]), make_tiny_folder(tmp_path / "model")
    given = ["evaluate", "--suite", str(suite), "--model", str(model), "--out", str(tmp_path / "out")]
    assert run_engine(given) == 2 and f"--judge {JUDGE}=FOLDER" in capsys.readouterr().out
    assert run_engine([*given, "--judge", "nonsense"]) == 2
    assert run_engine([*given, "--judge", f"{JUDGE}={make_tiny_folder(tmp_path / 'judge', context_tokens=2048)}"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (f", judge: {JUDGE}", "", "pairwise needs a judge"),
        ("kind: pairwise", "kind: generation", "generation has no judge"),
        ("a" * 40, "main", "all 40 digits"),
        ("commons/judge", "judge", "all 40 digits"),
    ],
)
def test_a_judge_is_one_commit_of_a_model(tmp_path: Path, old: str, new: str, what: str) -> None:
    with pytest.raises(SuiteError, match=what):
        read_suite(write_suite(tmp_path / "suite", SUITE.replace(old, new)))
