"""What a row says: a text, or a conversation. The four shapes of conversation that people write become one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from training.engine.corpus.foreign_templates import ROLES as FOREIGN_ROLES
from training.engine.corpus.foreign_templates import strip_marks, take_apart

ROLES = ("system", "user", "assistant")
# Columns of a question and of its answer; {"messages": [...]} is read apart.
PAIRS = (("prompt", "completion"), ("question", "answer"), ("instruction", "output"))
ACCEPTED = {
    "text": "text",
    "classification": "text and label",
    "chat": "messages, or prompt and completion, or question and answer, or instruction and output",
    "preference": "prompt, chosen and rejected, or chosen and rejected that begin alike",
}
ACCEPTED["instruction"] = ACCEPTED["chat"]


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Document:
    """A text, or the messages of a conversation with at least one answer; never both."""

    text: str | None = None
    messages: tuple[Message, ...] = ()
    learns_all: bool = False  # of a conversation: the questions too
    given: int = 0  # of a conversation: messages at its beginning of which nothing is learnt
    joint: str | None = None  # of two messages that are one text without a template: what stands between them
    rejected: Document | None = None  # the same question with a worse answer

    @property
    def words(self) -> str:
        """Everything a person wrote, for comparing documents. System prompts repeat by design and stay out."""
        if self.text is not None:
            return self.text
        worse = self.rejected.messages[self.given :] if self.rejected else ()
        return "\n".join(m.content for m in (*self.messages, *worse) if m.role != "system")

    def change(self, work: Callable[[Document], Document]) -> Document:
        """`work` done on the conversation, and on the one with the worse answer. Unusable when no difference is left."""
        if self.rejected is None:
            return work(self)
        better, worse = work(replace(self, rejected=None)), work(self.rejected)
        if better == worse:
            raise Unusable("same_answers")
        return replace(better, rejected=worse)


@dataclass(frozen=True)
class Reading:
    """How the rows of one contribution are read, where they are not written as usual."""

    # question | answer | text | label | messages | chosen | rejected
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mend: frozenset[str] = frozenset()  # training.engine.recipe_schema.MENDS

    def find(self, row: dict[str, Any], *names: str) -> list[str] | None:
        """The row's columns for these names, or None when one of them is missing."""
        found = [next((column for column in self.columns.get(name, ()) if column in row), None) for name in names]
        return None if None in found else [column for column in found if column is not None]


PLAIN = Reading()


class Unusable(Exception):
    """A row that is left out; `reason` is a stable word: missing_column, empty_text, empty_answer,
    malformed; of two answers same_answers, no_question."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_document(row: dict[str, Any], format: str, reading: Reading = PLAIN) -> Document:
    """The document in a row; Unusable when there is none."""
    if format == "text":
        column = (reading.find(row, "text") or ["text"])[0]
        return Document(text=require_words(_column(row, column), "empty_text"))
    if format == "classification":
        text, label = reading.find(row, "text", "label") or ("text", "label")
        kind = _column(row, label)
        answer = str(kind) if isinstance(kind, int | float) and not isinstance(kind, bool) else kind
        return _make_pair(_column(row, text), answer)
    if format == "preference":
        from training.engine.corpus.preferences import read_pair  # which needs the records of this module

        return read_pair(row, reading).change(lambda document: _mend(document, reading))
    return _mend(_read_conversation(row, reading), reading)


def _read_conversation(row: dict[str, Any], reading: Reading) -> Document:
    needs_answer = "learn_all" not in reading.mend
    if mapped := reading.find(row, "messages"):
        return Document(messages=read_messages(row[mapped[0]], needs_answer))
    if pair := reading.find(row, "question", "answer"):
        return _make_pair(row[pair[0]], row[pair[1]])
    if "messages" in row:
        return Document(messages=read_messages(row["messages"], needs_answer))
    for question, answer in PAIRS:
        if question in row and answer in row:
            asked = require_words(row[question], "empty_prompt")
            extra = row.get("input") if question == "instruction" else None
            if isinstance(extra, str) and extra.strip():
                asked = f"{asked}\n\n{extra}"
            return _make_pair(asked, row[answer])
    if "unwrap" in reading.mend and isinstance(row.get("text"), str):
        turns = take_apart(row["text"])
        if any(role == "assistant" for role, _ in turns):
            return Document(messages=tuple(Message(role, words) for role, words in turns))
    raise Unusable("missing_column")


def _mend(document: Document, reading: Reading) -> Document:
    messages, given = document.messages, document.given
    if "unwrap" in reading.mend:
        messages = tuple(Message(m.role, strip_marks(m.content)) for m in messages)
        if any(m.role == "assistant" and not m.content.strip() for m in messages):
            raise Unusable("empty_answer")
    if "fold_system" in reading.mend:
        given -= sum(m.role == "system" for m in messages[:given])
        messages = fold_system(messages)
    return replace(document, messages=messages, given=given, learns_all="learn_all" in reading.mend)


def fold_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The system's words before the first question, for templates that know no system."""
    told = "\n\n".join(m.content for m in messages if m.role == "system")
    rest = [m for m in messages if m.role != "system"]
    if told and rest and rest[0].role == "user":
        rest[0] = Message("user", f"{told}\n\n{rest[0].content}")
    return tuple(rest)


def _make_pair(question: Any, answer: Any) -> Document:
    asked = require_words(question, "empty_prompt")
    told = require_words(answer, "empty_answer")
    return Document(messages=(Message("user", asked), Message("assistant", told)))


def read_messages(value: Any, needs_answer: bool = True) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise Unusable("malformed")
    messages = [_read_message(item) for item in value]
    while needs_answer and messages and messages[-1].role != "assistant":
        messages.pop()  # a question without an answer teaches nothing
    if not messages:
        raise Unusable("empty_answer")
    if any(m.role == "assistant" and not m.content.strip() for m in messages):
        raise Unusable("empty_answer")
    return tuple(messages)


def _read_message(item: Any) -> Message:
    if isinstance(item, dict) and "role" not in item and "from" in item:  # as ShareGPT writes it
        item = {"role": FOREIGN_ROLES.get(str(item["from"]).lower()), "content": item.get("value")}
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise Unusable("malformed")
    content = item.get("content")
    if content is None and item["role"] == "assistant":
        raise Unusable("empty_answer")
    if not isinstance(content, str):
        raise Unusable("malformed")
    return Message(item["role"], content)


def _column(row: dict[str, Any], name: str) -> Any:
    if name not in row:
        raise Unusable("missing_column")
    return row[name]


def require_words(value: Any, reason: str) -> str:
    if value is None:
        raise Unusable(reason)
    if not isinstance(value, str):
        raise Unusable("malformed")
    if not value.strip():
        raise Unusable(reason)
    return value
