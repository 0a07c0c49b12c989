"""What is read for answers: likelihoods and texts are those of plain transformers, whatever the architecture."""

from __future__ import annotations

import pytest
import torch

from tests.training.engine.test_architectures import CASES
from tests.training.engine.tiny_models import DEVICE, make_family
from training.engine.architectures import FAMILIES
from training.engine.decoding import Settings, decode
from training.engine.evals.likelihood import Request, plan_rows, score_requests
from training.engine.evals.trees import plant_trees
from training.engine.samples import answer_greedily

PROMPTS = [list(range(5, 24)), [7, 9, 300], list(range(60, 79)), list(range(100, 112))]
REQUESTS = [
    Request(tuple(context), continuation)
    for context in PROMPTS
    for continuation in ((3,), (11, 12, 13, 14), tuple(range(200, 212)))
]


def make_served(case: str):
    """As serving.open_model makes it: transformers' own attention, the one that the table names."""
    model_type, changes, _ = CASES[case]
    return make_family(model_type, attention_name=FAMILIES[model_type].attention, **changes).eval()


def make_reference(case: str):
    model_type, changes, _ = CASES[case]
    return make_family(model_type, attention_name="eager", **changes).eval()


@torch.no_grad()
def score_plainly(model, request: Request) -> tuple[float, bool]:
    tokens = torch.tensor([request.context + request.continuation], device=DEVICE)
    logits = model(input_ids=tokens, use_cache=False).logits[0, len(request.context) - 1 : -1].double()
    targets = torch.tensor(request.continuation, device=DEVICE)
    logprob = logits.log_softmax(-1).gather(1, targets[:, None]).sum()
    return float(logprob), bool((logits.argmax(-1) == targets).all())


@torch.no_grad()
def continue_plainly(model, prompt: list[int], new_tokens: int) -> list[int]:
    """Without a cache: everything is read again for each token."""
    tokens = list(prompt)
    for _ in range(new_tokens):
        tokens.append(
            int(model(input_ids=torch.tensor([tokens], device=DEVICE), use_cache=False).logits[0, -1].argmax())
        )
    return tokens[len(prompt) :]


@pytest.mark.parametrize("case", CASES)
def test_likelihoods_are_those_of_one_plain_pass_a_request(case):
    expected = [score_plainly(make_reference(case), request) for request in REQUESTS]
    served = make_served(case)
    for tree_tokens in (1, 64, 4096):
        found = score_requests(served, REQUESTS, context_tokens=256, tree_tokens=tree_tokens)
        assert max(abs(f.logprob - logprob) for f, (logprob, _) in zip(found, expected, strict=True)) < 2e-4
        assert [f.is_greedy for f in found] == [greedy for _, greedy in expected]


def test_a_window_that_no_request_reaches_shares_beginnings(monkeypatch):
    from training.engine.evals import likelihood

    changes = {"sliding_window": 40}
    reference = make_family("mistral", attention_name="eager", **changes).eval()
    expected = [score_plainly(reference, request)[0] for request in REQUESTS]
    planted = []
    monkeypatch.setattr(likelihood, "plan_rows", None)  # the other way is not taken
    monkeypatch.setattr(likelihood, "plant_trees", lambda *given: planted.extend(plant_trees(*given)) or planted)
    served = make_family("mistral", attention_name="sdpa", **changes).eval()
    found = score_requests(served, REQUESTS, context_tokens=256)
    assert len(planted) == 1 and len(planted[0].tokens) < sum(len(r.read_tokens()) for r in REQUESTS) * 0.6
    assert max(abs(f.logprob - logprob) for f, logprob in zip(found, expected, strict=True)) < 2e-4


def test_rows_that_share_a_pass_are_bounded():
    plans = list(plan_rows(REQUESTS, 60))
    assert sorted(number for rows in plans for number in rows) == list(range(len(REQUESTS)))
    for rows in plans:
        assert len(rows) == 1 or len(rows) * max(len(REQUESTS[i].read_tokens()) for i in rows) <= 60


@pytest.mark.parametrize("case", CASES)
def test_answers_in_a_batch_are_those_without_cache_and_neighbours(case):
    reference = make_reference(case)
    expected = [continue_plainly(reference, prompt, 10) for prompt in PROMPTS]
    # One of two equally long rows ends early and leaves the batch.
    stop = next(token for token in expected[2] if token not in expected[0])

    def until_stop(said):
        return said[: said.index(stop)] if stop in said else said

    answers = decode(make_served(case), PROMPTS, Settings(max_new_tokens=10), stop_ids=frozenset({stop}))
    assert answers == [until_stop(said) for said in expected]
    assert len(answers[0]) == 10 > len(answers[2])

    # The samples of a run are taken with training's own attention.
    model_type, changes, _ = CASES[case]
    learning = make_family(model_type, **changes)
    assert answer_greedily(learning, PROMPTS[0], end_tokens={stop}, new_tokens=10) == until_stop(expected[0])
