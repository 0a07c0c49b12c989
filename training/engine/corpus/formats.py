"""What a row says: a text, or a conversation. The four shapes of conversation that people write become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ROLES = ("system", "user", "assistant")
# Columns of a question and of its answer; {"messages": [...]} is read apart.
PAIRS = (("prompt", "completion"), ("question", "answer"), ("instruction", "output"))
ACCEPTED = {
    "text": "text",
    "classification": "text and label",
    "chat": "messages, or prompt and completion, or question and answer, or instruction and output",
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

    @property
    def words(self) -> str:
        """Everything a person wrote, for comparing documents. System prompts repeat by design and stay out."""
        if self.text is not None:
            return self.text
        return "\n".join(m.content for m in self.messages if m.role != "system")


class Unusable(Exception):
    """A row that is left out; `reason` is a stable word: missing_column, empty_text, empty_answer, malformed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_document(row: dict[str, Any], format: str) -> Document:
    """The document in a row; Unusable when there is none."""
    if format == "text":
        return Document(text=_require_words(_column(row, "text"), "empty_text"))
    if format == "classification":
        label = _column(row, "label")
        answer = str(label) if isinstance(label, int | float) and not isinstance(label, bool) else label
        return _make_pair(_column(row, "text"), answer)
    return _read_conversation(row)


def _read_conversation(row: dict[str, Any]) -> Document:
    if "messages" in row:
        return Document(messages=_read_messages(row["messages"]))
    for question, answer in PAIRS:
        if question in row and answer in row:
            asked = _require_words(row[question], "empty_prompt")
            extra = row.get("input") if question == "instruction" else None
            if isinstance(extra, str) and extra.strip():
                asked = f"{asked}\n\n{extra}"
            return _make_pair(asked, row[answer])
    raise Unusable("missing_column")


def _make_pair(question: Any, answer: Any) -> Document:
    asked = _require_words(question, "empty_prompt")
    told = _require_words(answer, "empty_answer")
    return Document(messages=(Message("user", asked), Message("assistant", told)))


def _read_messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise Unusable("malformed")
    messages = [_read_message(item) for item in value]
    while messages and messages[-1].role != "assistant":
        messages.pop()  # a question without an answer teaches nothing
    if not messages:
        raise Unusable("empty_answer")
    if any(m.role == "assistant" and not m.content.strip() for m in messages):
        raise Unusable("empty_answer")
    return tuple(messages)


def _read_message(item: Any) -> Message:
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


def _require_words(value: Any, reason: str) -> str:
    if value is None:
        raise Unusable(reason)
    if not isinstance(value, str):
        raise Unusable("malformed")
    if not value.strip():
        raise Unusable(reason)
    return value
