"""Tasks as scores of single rows: what the model was asked, what it gave, what that is worth."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.errors import EngineError
from training.engine.evals.likelihood import TREE_TOKENS, Likelihood, Request, score_requests
from training.engine.evals.suite import Row, Task
from training.engine.evals.text_metrics import TEXT_METRICS, chrf
from training.engine.generate import Prompt, Settings, answer_prompts, encode_prompt
from training.engine.serving import Served

UNREAD = "The model cannot read so long a prompt."
STOP_BEFORE = re.compile(r"\n\s*(?:Question:|\n)")  # a base model goes on with a question of its own

Tell = Callable[[int], None]


@dataclass(frozen=True)
class RowScore:
    """One row of a task. Summed scores over summed weights are the task's score."""

    task: str
    slice: str
    row: int  # from 0, in the task's file
    score: float  # 0 to 1; bits for perplexity
    weight: float  # 1; bytes for perplexity
    log: dict[str, Any]  # what the model gave, for samples.jsonl


def score_task(
    task: Task, served: Served, *, tell: Tell = lambda done: None, tree_tokens: int = TREE_TOKENS
) -> list[RowScore]:
    """Scores in the order of the rows. `tree_tokens` bounds memory and changes no score (see likelihood)."""
    score = {
        "multiple_choice": _score_choices,
        "generation": _score_answers,
        "perplexity": _score_texts,
        "checks": _score_wordings,
        "pairwise": _answer_duels,
        "harness": _score_harness,
    }[task.kind]
    return [
        RowScore(task.name, task.name_slice(row), number, *result)
        for number, (row, result) in enumerate(zip(task.rows, score(task, served, tell, tree_tokens), strict=True))
    ]


Result = tuple[float, float, dict[str, Any]]


def _score_choices(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    requests = [
        make_request(served.tokenizer, format_question(row["question"]), f" {choice}")
        for row in task.rows
        for choice in row["choices"]
    ]
    found = iter(_score(task, served, requests, tell, tree_tokens))
    for row in task.rows:
        likelihoods = [next(found) for _ in row["choices"]]
        yield rate_choice(row, likelihoods, length_normalised=task.length_normalised)


def _score(task: Task, served: Served, requests: list[Request], tell: Tell, tree_tokens: int) -> list[Likelihood]:
    """A row takes several requests, and `tell` counts rows."""

    def tell_rows(done: int) -> None:
        tell(done * len(task.rows) // len(requests))

    limit = served.context_tokens
    return score_requests(served.model, requests, context_tokens=limit, tree_tokens=tree_tokens, tell=tell_rows)


def rate_choice(row: Row, likelihoods: Sequence[Likelihood], *, length_normalised: bool) -> Result:
    """1 when the answer is the likeliest choice; choices of equal likelihood share it."""
    # The leading space is not counted, as in lm-evaluation-harness' acc_norm.
    lengths = [len(choice.encode()) if length_normalised else 1 for choice in row["choices"]]
    values = [found.logprob / length for found, length in zip(likelihoods, lengths, strict=True)]
    best = [number for number, value in enumerate(values) if value == max(values)]
    score = 1 / len(best) if row["answer"] in best else 0.0
    log = {"logprobs": [round(found.logprob, 4) for found in likelihoods], "chosen": best[0], "tie": len(best) > 1}
    return score, 1.0, log


def format_question(question: str) -> str:
    return f"Question: {question.strip()}\nAnswer:"


def make_request(tokenizer: Any, context: str, continuation: str) -> Request:
    """Both encoded together and cut where the context ends, as lm-evaluation-harness does it."""
    context_ids = tokenizer(context, add_special_tokens=False)["input_ids"]
    whole_ids = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    rest = whole_ids[len(context_ids) :] or tokenizer(continuation, add_special_tokens=False)["input_ids"]
    return Request(tuple(context_ids), tuple(rest))


def _score_answers(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    prompts = [Prompt(id=str(number), text=row["prompt"]) for number, row in enumerate(task.rows)]
    settings = Settings(max_new_tokens=task.max_new_tokens)
    answers = answer_prompts(served, prompts, settings, tell=tell)
    rate = TEXT_METRICS[task.metric or "exact_match"]
    for row, answer in zip(task.rows, answers, strict=True):
        text = STOP_BEFORE.split(answer.text.strip())[0].strip()
        expected = row.get("answers") or [row["answer"]]
        yield max(rate(text, right) for right in expected), 1.0, {"text": text}


def _score_wordings(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    """The whole greedy answer counts, not only its first paragraph. A prompt that the model cannot read fails its own row
    and no other: one test must not keep a suite from being run."""
    for row, text in zip(task.rows, _answer_readable(task, served, tell), strict=True):
        why = UNREAD if text is None else find_fault(row, text)
        yield float(not why), 1.0, {"text": text or "", "why": why}


def _answer_duels(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    """Answers only; a judge gives them their scores (judging.py). A prompt that the model cannot read has an empty one."""
    for text in _answer_readable(task, served, tell):
        yield 0.0, 1.0, {"text": text.strip() if text is not None else "", **({"why": UNREAD} if text is None else {})}


def _answer_readable(task: Task, served: Served, tell: Tell) -> list[str | None]:
    """The whole greedy answer to each row's prompt; None to one that is too long for the model."""
    settings = Settings(max_new_tokens=min(task.max_new_tokens, max(1, served.context_tokens // 2)))
    prompts = [Prompt(id=str(number), text=row["prompt"]) for number, row in enumerate(task.rows)]
    readable = [prompt for prompt in prompts if _is_readable(served, prompt, settings)]
    given = answer_prompts(served, readable, settings, tell=tell) if readable else []
    texts = {answer.id: answer.text for answer in given}
    return [texts.get(prompt.id) for prompt in prompts]


def _is_readable(served: Served, prompt: Prompt, settings: Settings) -> bool:
    try:
        return bool(encode_prompt(served, prompt, settings))
    except EngineError as error:
        if error.code not in ("context_exceeded", "template_too_long"):
            raise
        return False


def find_fault(row: Row, text: str) -> str:
    """What an answer lacks of what a row of kind checks asks for, in a sentence; "" when it passes. Letters of either
    case and runs of blanks are the same."""
    plain = _fold(text)
    for words in row.get("must", []):
        if _fold(words) not in plain:
            return f"It does not say “{words}”."
    for words in row.get("must_not", []):
        if _fold(words) in plain:
            return f"It says “{words}”."
    share = row.get("at_least", 0.5)
    if row.get("answer") and (likeness := chrf(text.strip(), row["answer"])) < share:
        return f"It is like the better answer to {likeness:.2f}, and {share:g} is asked for."
    return ""


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _score_texts(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    requests: list[Request] = []
    owners: list[int] = []
    for number, row in enumerate(task.rows):
        for request in split_text(served.tokenizer, row["text"], served.context_tokens):
            requests.append(request)
            owners.append(number)
    nats = [0.0] * len(task.rows)
    for owner, found in zip(owners, _score(task, served, requests, tell, tree_tokens), strict=True):
        nats[owner] -= found.logprob
    for row, loss in zip(task.rows, nats, strict=True):
        length = len(row["text"].encode())
        bits = loss / math.log(2)
        yield bits, float(length), {"bits": round(bits, 3), "bytes": length, "bits_per_byte": round(bits / length, 5)}


def split_text(tokenizer: Any, text: str, limit: int) -> Iterator[Request]:
    """Windows that predict every token of the text exactly once, the first after the tokenizer's start mark. The last one,
    being shorter, sees as much of what came before as the model can read (as lm-evaluation-harness rolls over a text)."""
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    tokens = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    for first in range(0, len(tokens), limit):
        window = tokens[first : first + limit]
        before = tokens[first + len(window) - limit - 1 : first] if first else (start,)
        yield Request(before, window)


def _score_harness(task: Task, served: Served, tell: Tell, tree_tokens: int) -> Iterator[Result]:
    from training.engine.evals.harness_scoring import score_generation, score_pairs, score_rolling

    assert task.harness is not None and task.metric is not None

    def score(requests: list[Request]) -> list[Likelihood]:
        return _score(task, served, requests, tell, tree_tokens)

    if task.harness.output_type == "generate_until":
        return score_generation(task.harness, task.rows, task.filter, served, tell)
    if task.harness.output_type == "loglikelihood_rolling":
        return score_rolling(task.rows, served, score)
    return score_pairs(task.harness, task.rows, task.metric, served, score)
