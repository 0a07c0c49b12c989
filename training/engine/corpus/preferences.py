"""Rows that say which of two answers is better, in the columns that TRL's preference datasets have.

    {"prompt", "chosen", "rejected"}    a question and two answers, as texts or as lists of messages
    {"chosen", "rejected"}              the question stands in both: the messages, or the words, with which both begin

Source: https://huggingface.co/docs/trl/dataset_formats#preference"""

from __future__ import annotations

import re
from typing import Any

from training.engine.corpus.formats import (
    PLAIN,
    Document,
    Message,
    Reading,
    Unusable,
    read_messages,
    require_words,
)

QUESTIONS = ("prompt", "question", "instruction")
TRANSCRIPT = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \n]?")  # as Anthropic's hh-rlhf writes conversations
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def read_pair(row: dict[str, Any], reading: Reading = PLAIN) -> Document:
    """The conversation with the better answer; the one with the worse is its `rejected`. Unusable when there is no pair."""
    chosen_name, rejected_name = reading.find(row, "chosen", "rejected") or ("chosen", "rejected")
    if chosen_name not in row or rejected_name not in row:
        raise Unusable("missing_column")
    chosen, rejected = _as_talk(row[chosen_name]), _as_talk(row[rejected_name])
    asked = reading.find(row, "question")
    column = asked[0] if asked else next((name for name in QUESTIONS if name in row), None)
    question = row[column] if column else None
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise Unusable("malformed")
    if isinstance(chosen, list):
        return _join(*_split_talks(question, read_messages(chosen), read_messages(rejected)))
    better, worse = require_words(chosen, "empty_answer"), require_words(rejected, "empty_answer")
    if question is None:
        return _split_texts(better, worse)
    told = _read_question(question)
    return _join(told, (Message("assistant", better),), (Message("assistant", worse),))


def _as_talk(value: Any) -> Any:
    """The turns of a transcript in one text; anything else as it is."""
    if not isinstance(value, str):
        return value
    marks = list(TRANSCRIPT.finditer(value))
    if len(marks) < 2 or marks[0].start() or marks[0].group(1) != "Human" or marks[-1].group(1) != "Assistant":
        return value
    ends = [mark.start() for mark in marks[1:]] + [len(value)]
    return [
        {"role": SPEAKERS[mark.group(1)], "content": value[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]


def _read_question(value: Any) -> tuple[Message, ...]:
    if isinstance(value, list):
        messages = read_messages(value, needs_answer=False)
        if not any(m.role == "user" and m.content.strip() for m in messages):
            raise Unusable("empty_prompt")
        return messages
    return (Message("user", require_words(value, "empty_prompt")),)


def _split_talks(
    question: Any, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """(what was asked, the better answer, the worse one). A conversation that repeats the question is cut behind it."""
    if chosen == rejected:
        raise Unusable("same_answers")
    alike = (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    shared = next(alike, min(len(chosen), len(rejected)))
    is_answer = chosen[0].role == "assistant"  # alone; a whole conversation begins with who asks
    if not shared and not is_answer:
        raise Unusable("no_question")
    if is_answer and question is None:
        raise Unusable("no_question")
    asked = _read_question(question) if is_answer else ()
    return (*asked, *chosen[:shared]), chosen[shared:], rejected[shared:]


def _split_texts(better: str, worse: str) -> Document:
    """Two texts that begin alike: where they part, a word is kept whole. No template is put around them."""
    if better == worse:
        raise Unusable("same_answers")
    at = next((i for i, (a, b) in enumerate(zip(better, worse, strict=False)) if a != b), min(len(better), len(worse)))
    told = better[:at]
    if re.search(r"\s", better) and not told.endswith(tuple(" \n\t")):
        told = told[: max((told.rfind(blank) for blank in " \n\t"), default=-1) + 1]
    asked, joint = told.rstrip(), told[len(told.rstrip()) :]
    if not asked.strip():
        raise Unusable("no_question")
    first, second = ((Message("assistant", text[len(told) :]),) for text in (better, worse))
    return _join((Message("user", asked),), first, second, joint=joint)


def _join(
    asked: tuple[Message, ...], better: tuple[Message, ...], worse: tuple[Message, ...], joint: str | None = None
) -> Document:
    for answer in (better, worse):
        if not answer or not answer[-1].content.strip():
            raise Unusable("empty_answer")
        if answer[0].role != "assistant":
            raise Unusable("no_question")  # two questions, not two answers
    chosen, rejected = (
        Document(messages=(*asked, *answer), given=len(asked), joint=joint) for answer in (better, worse)
    )
    if chosen == rejected:
        raise Unusable("same_answers")
    return Document(messages=chosen.messages, given=len(asked), joint=joint, rejected=rejected)
