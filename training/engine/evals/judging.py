"""Pairwise tasks: a judge model says which of two answers is better, once in either order, so that liking the first one more
comes out as a tie.

The judge writes nothing: what counts is which of the words A, B and C ("equally good") it finds likeliest after the question.
That is the same at every batch size and on every day, and a small model can do it. All three likelihoods are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.evals.likelihood import TREE_TOKENS, score_requests
from training.engine.evals.scoring import RowScore, make_request
from training.engine.evals.suite import Row, Suite, Task
from training.engine.serving import Served, open_model
from training.engine.tokenizer import render_chat

Scores = dict[str, list[RowScore]]
Tell = Callable[[int], None]

VERDICTS = ("A", "B", "C")
MAX_SHOWN_CHARACTERS = 6_000  # of one answer: a longer one is cut for the judge
QUESTION = """\
Two assistants answered the same request. Decide which answer is better: more correct, more helpful, better written. The \
order in which they stand says nothing.

[Request]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

Which answer is better? Reply with one letter: A, B, or C if they are equally good."""


@dataclass(frozen=True)
class Duel:
    """One answer against another; `ours` is whose score it becomes."""

    prompt: str
    ours: str
    theirs: str

    def ask(self, *, ours_first: bool) -> str:
        first, second = (self.ours, self.theirs) if ours_first else (self.theirs, self.ours)
        return QUESTION.format(
            prompt=self.prompt, first=first[:MAX_SHOWN_CHARACTERS], second=second[:MAX_SHOWN_CHARACTERS]
        )


@dataclass(frozen=True)
class Judgement:
    score: float  # mean of both orders: 1 won, 0.5 tie, 0 lost
    orders: list[dict[str, Any]]  # what the judge gave in each


def judge_suite(
    suite: Suite,
    candidate: Scores,
    parent: Scores | None,
    *,
    judges: Mapping[str, Path],
    device: str = "auto",
    tell: Callable[[str, int], None] = lambda task, done: None,
) -> tuple[Scores, Scores | None]:
    """The scores with those of pairwise tasks in place. A row with an `answer` puts each model against that; one without,
    the candidate against its parent, whose score is then what is left to 1.

    `judges` are folders by the name that suite.yaml gives them. Raises EngineError where one is missing."""
    for name in list_judges(suite):
        if name not in judges:
            hint = f"name it: --judge {name}=FOLDER"
            raise EngineError(f"The suite asks the judge {name}; {hint}.", code="missing_judge", hint=hint)
        judge = open_model(judges[name], device)
        for task in (task for task in suite.tasks if task.judge == name):
            found = judge_task(task, judge, candidate[task.name], parent[task.name] if parent else None, tell=tell)
            candidate = {**candidate, task.name: found[0]}
            if parent is not None:
                parent = {**parent, task.name: found[1]}
        del judge
    return candidate, parent


def list_judges(suite: Suite) -> list[str]:
    """Each once, in the order of the tasks."""
    return list(dict.fromkeys(task.judge for task in suite.tasks if task.judge))


def judge_task(
    task: Task,
    judge: Served,
    ours: Sequence[RowScore],
    before: Sequence[RowScore] | None,
    *,
    tell: Callable[[str, int], None] = lambda task, done: None,
    tree_tokens: int = TREE_TOKENS,
) -> tuple[list[RowScore], list[RowScore]]:
    """Rows of the candidate and of its parent, judged; the latter is empty without one."""
    others: Sequence[RowScore | None] = before if before is not None else [None] * len(ours)
    duels: list[Duel] = []
    for row, own, other in zip(task.rows, ours, others, strict=True):
        duels.append(Duel(row["prompt"], own.log["text"], opponent_of(task, own.row, row, other)))
        if other is not None and row.get("answer"):
            duels.append(Duel(row["prompt"], other.log["text"], row["answer"]))
    judged = iter(judge_duels(judge, duels, tell=lambda done: tell(task.name, done), tree_tokens=tree_tokens))
    candidate, parent = [], []
    for row, own, other in zip(task.rows, ours, others, strict=True):
        judgement = next(judged)
        candidate.append(put(own, judgement))
        if other is not None:
            parent.append(put(other, next(judged) if row.get("answer") else turn(judgement)))
    return candidate, parent


def opponent_of(task: Task, number: int, row: Row, parent: RowScore | None) -> str:
    if row.get("answer"):
        return str(row["answer"])
    if parent is None:
        hint = "give the row an 'answer', or compare with a parent"
        message = f"{task.file}: row {number + 1} has no answer to compare with, and there is no parent; {hint}."
        raise EngineError(message, code="no_opponent", hint=hint)
    return str(parent.log["text"])


def judge_duels(
    judge: Served, duels: Sequence[Duel], *, tell: Tell = lambda done: None, tree_tokens: int = TREE_TOKENS
) -> list[Judgement]:
    """Each duel in both orders. One that the judge cannot read whole is a tie, and says so."""
    asked = [
        [make_request(judge.tokenizer, render(judge, duel.ask(ours_first=first)), word) for word in VERDICTS]
        for duel in duels
        for first in (True, False)
    ]
    fits = [all(len(request.read_tokens()) <= judge.context_tokens for request in requests) for requests in asked]
    readable = [request for requests, fit in zip(asked, fits, strict=True) if fit for request in requests]
    found = iter(
        score_requests(judge.model, readable, context_tokens=judge.context_tokens, tree_tokens=tree_tokens, tell=tell)
    )
    orders = [
        decide([next(found).logprob for _ in VERDICTS], ours_first=number % 2 == 0) if fit else unread()
        for number, fit in enumerate(fits)
    ]
    pairs = [[orders[2 * number], orders[2 * number + 1]] for number in range(len(duels))]
    return [Judgement(sum(one["score"] for one in pair) / 2, pair) for pair in pairs]


def render(judge: Served, question: str) -> str:
    return render_chat(judge.tokenizer, ({"role": "user", "content": question},), open_answer=True)


def decide(logprobs: Sequence[float], *, ours_first: bool) -> dict[str, Any]:
    """What one order says. Answers that are equally likely the better one are a tie."""
    first, second, equal = logprobs
    verdict = "C" if equal >= max(first, second) or first == second else "A" if first > second else "B"
    score = 0.5 if verdict == "C" else float((verdict == "A") == ours_first)
    given = {word: round(value, 4) for word, value in zip(VERDICTS, logprobs, strict=True)}
    return {"ours": "A" if ours_first else "B", "logprobs": given, "verdict": verdict, "score": score}


def unread() -> dict[str, Any]:
    return {"verdict": "C", "score": 0.5, "why": "The judge cannot read so much at once."}


def turn(judgement: Judgement) -> Judgement:
    """The same judgement, seen from the other side."""
    orders = [
        {**one, "score": 1 - one["score"], **({"ours": "BA"["AB".index(one["ours"])]} if "ours" in one else {})}
        for one in judgement.orders
    ]
    return Judgement(1 - judgement.score, orders)


def put(row: RowScore, judgement: Judgement) -> RowScore:
    outcome = "won" if judgement.score > 0.5 else "lost" if judgement.score < 0.5 else "tie"
    return replace(row, score=judgement.score, log={**row.log, "outcome": outcome, "judged": judgement.orders})
