"""A suite is read strictly, scored independently of batching, and judged by what its size allows to say."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.engine.tiny_served import make_tiny_folder, open_tiny
from training.engine.__main__ import main as run_engine
from training.engine.evals.likelihood import Likelihood, Request, score_requests
from training.engine.evals.packed_linear import PackedLinear, can_pack, pack_weights
from training.engine.evals.report import compare
from training.engine.evals.scoring import (
    RowScore,
    make_request,
    rate_choice,
    score_task,
    split_text,
)
from training.engine.evals.statistics import Estimate, judge, mean_difference, ratio, share_difference, wilson
from training.engine.evals.suite import Suite, SuiteError, Task, read_suite
from training.engine.evals.trees import plant_trees
from training.engine.serving import Served

QUESTIONS = [
    {"question": f"Which word is number {n}? " + "the tide " * (n % 5), "choices": ["sea", "harbour wall", "rain"],
     "answer": n % 3, "topic": "even" if n % 2 == 0 else "odd"}
    for n in range(10)
]  # fmt: skip
PROMPTS = [{"prompt": "Say tide.", "answer": "tide"}, {"prompt": "Say sea.", "answers": ["sea", "the sea"]}]
TEXTS = [{"text": f"The sea is calm on day {n}, and the boats lie in the harbour."} for n in range(6)]
DESCRIPTION = """\
version: 1
name: Tiny
margin: 0.5
tasks:
  - {name: choices, kind: multiple_choice, file: choices.jsonl, slice: topic}
  - {name: answers, kind: generation, file: answers.jsonl, metric: f1, max_new_tokens: 4}
  - {name: texts, kind: perplexity, file: texts.jsonl, margin: 5}
"""


def write_suite(folder: Path, description: str = DESCRIPTION, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "suite.yaml").write_text(description)
    rows = {"choices": QUESTIONS, "answers": PROMPTS, "texts": TEXTS} | files
    for name, content in rows.items():
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return open_tiny(tmp_path_factory.mktemp("model"))


def make_requests(served: Served) -> list[Request]:
    return [
        make_request(served.tokenizer, f"Question: {row['question']}\nAnswer:", f" {choice}")
        for row in QUESTIONS
        for choice in row["choices"]
    ]


@torch.no_grad()
def score_plainly(model: Any, request: Request) -> float:
    """The reference: one sequence, one forward pass, nothing shared."""
    tokens = torch.tensor([request.context + request.continuation])
    logprobs = torch.log_softmax(model(input_ids=tokens).logits[0].double(), dim=-1)
    start = len(request.context)
    return sum(float(logprobs[start + i - 1, token]) for i, token in enumerate(request.continuation))


# Scoring


@pytest.mark.parametrize("tree_tokens", [1, 40, 200, 512, 100_000])
def test_scores_are_those_of_plain_passes_at_every_batch_size(served: Served, tree_tokens: int) -> None:
    requests = make_requests(served)
    found = score_requests(served.model, requests, context_tokens=256, tree_tokens=tree_tokens)
    expected = [score_plainly(served.model, request) for request in requests]
    assert max(abs(f.logprob - e) for f, e in zip(found, expected, strict=True)) < 1e-5
    assert len({round(e, 2) for e in expected}) > 10, "random weights must tell the choices apart"


def test_a_shared_beginning_is_read_once(served: Served) -> None:
    requests = make_requests(served)
    (tree,) = plant_trees(requests, 100_000)
    read_apart = sum(len(request.read_tokens()) for request in requests)
    assert len(tree.tokens) < 0.4 * read_apart
    assert sum(len(t.paths) for t in plant_trees(requests, 60)) == len(requests)
    assert all(t.count_read() <= 60 or len(t.paths) == 1 for t in plant_trees(requests, 60))


def test_a_beginning_goes_on_from_tree_to_tree(served: Served) -> None:
    """Solved examples before every question are read once, not once a pass."""
    solved = "".join(f"Question: What is {n}?\nAnswer: the tide\n\n" for n in range(4))
    requests = [
        make_request(served.tokenizer, f"{solved}Question: {row['question']}\nAnswer:", f" {choice}")
        for row in QUESTIONS
        for choice in row["choices"]
    ]
    whole = sum(tree.count_read() for tree in plant_trees(requests, 100_000))
    trees = list(plant_trees(requests, 100))
    assert len(trees) > 2 and sum(tree.count_read() for tree in trees) == whole
    found = score_requests(served.model, requests, context_tokens=256, tree_tokens=100)
    expected = [score_plainly(served.model, request) for request in requests]
    assert max(abs(f.logprob - e) for f, e in zip(found, expected, strict=True)) < 1e-5


@pytest.mark.skipif(not can_pack(), reason="this build of PyTorch lays out no weights")
def test_packed_weights_change_no_score_and_no_answer(served: Served, tmp_path: Path) -> None:
    packed = open_tiny(tmp_path / "model")
    assert pack_weights(packed.model) is packed.model and isinstance(packed.model.lm_head, PackedLinear)
    requests = make_requests(served)
    plain, found = (score_requests(one.model, requests, context_tokens=256) for one in (served, packed))
    assert max(abs(a.logprob - b.logprob) for a, b in zip(plain, found, strict=True)) < 1e-5
    task = Task("g", "generation", "g.jsonl", "f1", max_new_tokens=8, rows=tuple(PROMPTS))
    assert [row.log for row in score_task(task, packed)] == [row.log for row in score_task(task, served)]


def test_likelihoods_say_whether_the_model_would_have_said_it(served: Served) -> None:
    context = (5, 6, 7)
    with torch.no_grad():
        best = int(served.model(input_ids=torch.tensor([context])).logits[0, -1].argmax())
    found = score_requests(served.model, [Request(context, (best,)), Request(context, (best + 1,))], context_tokens=256)
    assert [f.is_greedy for f in found] == [True, False]


def test_a_long_context_loses_its_oldest_tokens(served: Served) -> None:
    long = Request(tuple(range(1, 80)), (3, 4))
    (found,) = score_requests(served.model, [long], context_tokens=20)
    assert found.logprob == pytest.approx(score_plainly(served.model, Request(long.context[-19:], (3, 4))), abs=1e-5)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    from training.engine.errors import EngineError

    broken = open_tiny(tmp_path / "model")
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(EngineError, match="hold NaN"):
        score_requests(broken.model, [Request((1,), (2,))], context_tokens=256)


def test_every_token_of_a_text_is_predicted_once(served: Served) -> None:
    text = "The sea is calm and the boats lie in the harbour."
    windows = list(split_text(served.tokenizer, text, 16))
    tokens = served.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [t for w in windows for t in w.continuation] == tokens
    # The last window is shorter and reads on from further back, so that it too reads all that fits.
    assert len(tokens) % 16 and [len(w.read_tokens()) for w in windows] == [16] * len(windows)
    assert all(len(w.context) == 1 for w in windows[:-1])
    for window in windows[1:]:
        at = next(
            i for i in range(len(tokens)) if tuple(tokens[i : i + len(window.continuation)]) == window.continuation
        )
        assert window.context == tuple(tokens[at - len(window.context) : at])


def test_bits_per_byte_of_equally_likely_tokens_are_known(tmp_path: Path) -> None:
    flat = open_tiny(tmp_path / "model")
    with torch.no_grad():
        flat.model.lm_head.weight.zero_()
    text = "tide tide tide"
    (score,) = score_task(Task("t", "perplexity", "t.jsonl", "bits_per_byte", rows=({"text": text},)), flat)
    tokens = len(flat.tokenizer(text, add_special_tokens=False)["input_ids"])
    assert score.score == pytest.approx(tokens * math.log2(len(flat.tokenizer)), rel=1e-5)
    assert score.weight == len(text)


@pytest.mark.parametrize(
    ("logprobs", "normalised", "score", "tie"),
    [
        ([-1, -2, -3], False, 1.0, False),
        ([-2, -1, -3], False, 0.0, False),
        ([-1, -1, -3], False, 0.5, True),
        ([-2, -2.2, -9], False, 1.0, False),
        ([-2, -2.2, -9], True, 0.0, False),  # 3 and 12 bytes
    ],
)
def test_the_likeliest_choice_counts_and_ties_share(
    logprobs: Sequence[float], normalised: bool, score: float, tie: bool
) -> None:
    row = {"choices": ["sea", "harbour wall", "rain"], "answer": 0}
    found = [Likelihood(value, False) for value in logprobs]
    rated, weight, log = rate_choice(row, found, length_normalised=normalised)
    assert (rated, weight, log["tie"]) == (score, 1.0, tie)


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


# Suites


def test_a_suite_is_read_with_its_digest(tmp_path: Path) -> None:
    suite = read_suite(write_suite(tmp_path / "suite"))
    assert [(t.name, t.metric, len(t.rows)) for t in suite.tasks] == [
        ("choices", "accuracy", 10),
        ("answers", "f1", 2),
        ("texts", "bits_per_byte", 6),
    ]
    assert suite.digest.startswith("sha256:")
    again = read_suite(write_suite(tmp_path / "other"))
    assert again.digest == suite.digest
    changed = read_suite(write_suite(tmp_path / "changed", texts=TEXTS[1:]))
    assert changed.digest != suite.digest


GOOD = json.dumps(QUESTIONS[0]) + "\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "choices.jsonl:2: this is not JSON"),
        ("[1]", "choices.jsonl:2: this is not an object"),
        ('{"question": "", "choices": ["a", "b"], "answer": 0}', "'question' must be text"),
        ('{"question": "q", "choices": ["a"], "answer": 0}', "'choices' must be a list of 2"),
        ('{"question": "q", "choices": ["a", "a"], "answer": 0}', "two choices are the same"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 2}', "'answer' must be the number of a choice, 0 to 1"),
        ('{"question": "q", "choices": ["a", "b"], "answer": true}', "'answer' must be the number"),
        ('{"question": "q", "choices": ["a", "b"], "answer": 0}', "the column 'topic' is missing"),
        ('{"question": "\\ud800", "choices": ["a", "b"], "answer": 0}', "'question' must be text"),
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path: Path, line: str, what: str) -> None:
    folder = write_suite(tmp_path / "suite", choices=GOOD + line + "\n" + GOOD)
    with pytest.raises(SuiteError) as refused:
        read_suite(folder)
    assert len(refused.value.problems) == 1
    assert what in refused.value.problems[0]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("version: 1", "version: 9", "suite.yaml:1:10: 9 is out of range"),
        ("kind: perplexity", "kind: perplexty", "did you mean 'perplexity'?"),
        (
            "metric: f1",
            "metric: accuracy",
            "generation has no metric accuracy; use exact_match or f1 or chrf or rouge_l",
        ),
        ("texts.jsonl", "../texts.jsonl", "is not the name of a .jsonl file"),
        ("texts.jsonl", "a/../../t.jsonl", "leads out of the suite"),
        ("texts.jsonl", "gone.jsonl", "gone.jsonl: this file is missing"),
        ("name: texts", "name: answers", "a second task is called 'answers'"),
        ("margin: 0.5", "margins: 0.5", "did you mean 'margin'?"),
    ],
)
def test_a_malformed_description_is_named_with_its_place(tmp_path: Path, old: str, new: str, what: str) -> None:
    folder = write_suite(tmp_path / "suite", DESCRIPTION.replace(old, new))
    with pytest.raises(SuiteError, match=r".") as refused:
        read_suite(folder)
    assert what in str(refused.value)


def test_a_wrong_file_is_told_fifty_lines_long_at_most(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite", choices="{\n" * 5000)
    with pytest.raises(SuiteError) as refused:
        read_suite(folder)
    assert len(refused.value.problems) == 50


def test_a_link_out_of_the_suite_is_not_read(tmp_path: Path) -> None:
    folder = write_suite(tmp_path / "suite")
    (tmp_path / "secret.jsonl").write_text('{"text": "secret"}\n')
    (folder / "texts.jsonl").unlink()
    (folder / "texts.jsonl").symlink_to(tmp_path / "secret.jsonl")
    with pytest.raises(SuiteError, match="this file is missing"):
        read_suite(folder)


# The command


def evaluate(tmp_path: Path, *extra: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    write_suite(tmp_path / "suite")
    out = tmp_path / "out"
    assert run_engine(["evaluate", "--suite", str(tmp_path / "suite"), "--out", str(out), *extra]) == 0
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    return json.loads((out / "evaluation.json").read_text()), samples


def test_a_candidate_is_evaluated_against_its_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(make_tiny_folder(tmp_path / "model", seed=1))
    parent = str(make_tiny_folder(tmp_path / "parent", seed=2))
    report, samples = evaluate(tmp_path, "--model", model, "--parent", parent)
    assert [s["slice"] for s in report["slices"]] == ["even", "odd", "answers", "texts"]
    promised = {"slice", "task", "metric", "n", "score", "low", "high", "parent_score", "parent_low", "parent_high"}
    promised |= {"difference", "diff_low", "diff_high", "verdict"}
    assert all(promised <= s.keys() for s in [*report["slices"], report["overall"]])
    assert all(s["low"] <= s["score"] <= s["high"] for s in report["slices"])
    assert all(s["diff_low"] <= s["difference"] <= s["diff_high"] for s in report["slices"])
    assert all(s["better"] + s["worse"] + s["ties"] == s["n"] for s in report["slices"])
    assert report["model_digest"] != report["parent_digest"]
    assert len(samples) == 18
    assert all(sample["parent"] is not None for sample in samples)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "done" and events[-1]["overall"] == report["overall"]
    again, same = evaluate(tmp_path, "--model", model, "--parent", parent)
    assert ({**again, "seconds": 0}, same) == ({**report, "seconds": 0}, samples)


def test_a_model_is_not_worse_than_itself(tmp_path: Path) -> None:
    model = str(make_tiny_folder(tmp_path / "model"))
    report, _ = evaluate(tmp_path, "--model", model, "--parent", model, "--margin", "0.01")
    assert {s["verdict"] for s in [*report["slices"], report["overall"]]} == {"not_worse"}


def test_the_digest_of_a_model_is_that_of_what_is_loaded(tmp_path: Path) -> None:
    from training.engine.digests import digest_folder

    model = make_tiny_folder(tmp_path / "model")
    expected = digest_folder(model)
    (model / "README.md").write_text("# A card")
    (model / ".complete").touch()
    report, _ = evaluate(tmp_path, "--model", str(model))
    assert report["model_digest"] == expected


def test_weights_that_may_hold_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = make_tiny_folder(tmp_path / "model")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    suite = write_suite(tmp_path / "suite")
    arguments = ["evaluate", "--suite", str(suite), "--model", str(model), "--out", str(tmp_path / "out")]
    assert run_engine(arguments) == 2
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (event["event"], event["code"]) == ("error", "weights_unsafe")
    assert not (tmp_path / "out" / "evaluation.json").exists()
