"""Scores do not depend on batching, sharing or packing, and are those of plain passes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.tiny_served import open_tiny
from tests.training.engine.tiny_suites import PROMPTS, QUESTIONS
from training.engine.evals.likelihood import Likelihood, Request, score_requests
from training.engine.evals.packed_linear import PackedLinear, can_pack, pack_weights
from training.engine.evals.scoring import (
    make_request,
    rate_choice,
    score_task,
    split_text,
)
from training.engine.evals.suite import Task
from training.engine.evals.trees import plant_trees
from training.engine.serving import Served


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


def test_progress_counts_rows_and_not_requests(served: Served) -> None:
    """A person read "choices, 144 of 36"."""
    told: list[int] = []
    task = Task(name="c", kind="multiple_choice", file="c.jsonl", metric="accuracy", rows=tuple(QUESTIONS[:3]))
    score_task(task, served, tell=told.append, tree_tokens=1)
    assert len(told) > 3 and max(told) == 3 and told == sorted(told)


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
