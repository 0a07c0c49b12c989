"""Documents as token ids, with a mark on each one that is learnt: all of a text, the answers of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.corpus.formats import Document, Unusable
from training.engine.errors import EngineError
from training.engine.tokenizer import render_chat

PROMPT_WORDS = 12  # of a text, when it serves as a sample


@dataclass(frozen=True)
class Encoded:
    tokens: list[int]
    learnt: list[bool]  # same length; the token is a target of the loss


@dataclass(frozen=True)
class Rendered:
    text: str
    spans: tuple[tuple[int, int], ...]  # characters that are learnt
    is_chat: bool


class Renderer:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.eos: int = tokenizer.eos_token_id
        # Some tokenizers open each text with a mark; an empty text shows whether this one does.
        self.opening: list[int] = [t for t in tokenizer("")["input_ids"] if t != self.eos]

    def render(self, document: Document) -> Rendered:
        """Unusable when the chat template does not take the conversation."""
        if document.text is not None:
            return Rendered(document.text, ((0, len(document.text)),), is_chat=False)
        if document.joint is not None:
            asked, told = (m.content for m in document.messages)
            text = f"{asked}{document.joint}{told}"
            return Rendered(text, ((len(asked), len(text)),), is_chat=False)
        messages = [{"role": m.role, "content": m.content} for m in document.messages]
        return self._render_chat(messages, document)

    def _render_chat(self, messages: list[dict[str, str]], document: Document) -> Rendered:
        try:
            whole = render_chat(self.tokenizer, messages, open_answer=False)
            if document.learns_all and not document.given:
                return Rendered(whole, ((0, len(whole)),), is_chat=True)
            answers = [i for i, m in enumerate(messages) if m["role"] == "assistant" and i >= document.given]
            spans = [span for i in answers if (span := self._find(whole, messages, i))]
        except EngineError as error:
            if error.code == "template_timeout":
                raise
            raise Unusable("template_refused") from error
        if not spans:
            raise Unusable("template_mismatch")
        return Rendered(whole[: spans[-1][1]], tuple(spans), is_chat=True)

    def _find(self, whole: str, messages: list[dict[str, str]], answer: int) -> tuple[int, int] | None:
        """Where an answer and its end mark stand. None where the template rewrites earlier turns (thinking models)."""
        before = render_chat(self.tokenizer, messages[:answer], open_answer=True)
        after = render_chat(self.tokenizer, messages[: answer + 1], open_answer=False).rstrip()
        if not (whole.startswith(after) and after.startswith(before)):
            return None
        return len(before), len(after)

    def encode(self, batch: Sequence[Rendered]) -> list[Encoded]:
        """Token ids per document; each ends with the end-of-text token, and that is learnt."""
        result = self.tokenizer(
            [r.text for r in batch], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        pairs = zip(batch, result["input_ids"], result["offset_mapping"], strict=True)
        return [self._mark(rendered, list(ids), offsets) for rendered, ids, offsets in pairs]

    def _mark(self, rendered: Rendered, ids: list[int], offsets: list[tuple[int, int]]) -> Encoded:
        if not rendered.is_chat:
            learnt = [start >= rendered.spans[0][0] for start, _ in offsets]
            return Encoded([*self.opening, *ids, self.eos], [*[False] * len(self.opening), *learnt, True])
        learnt = [any(a <= start and end <= b and end > start for a, b in rendered.spans) for start, end in offsets]
        if not ids or ids[-1] != self.eos:
            ids, learnt = [*ids, self.eos], [*learnt, True]
        return Encoded(ids, learnt)

    def open_prompt(self, document: Document) -> tuple[str, str]:
        """(what a person reads, what the model reads): the question of a held-out document, or how its text begins."""
        if document.text is not None:
            words = " ".join(document.text.split()[:PROMPT_WORDS])
            return words, words
        if document.joint is not None:
            return document.messages[0].content, document.messages[0].content
        last = max(
            (i for i, m in enumerate(document.messages) if m.role == "assistant"), default=len(document.messages)
        )
        messages = [{"role": m.role, "content": m.content} for m in document.messages[:last]]
        asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        return asked, render_chat(self.tokenizer, messages, open_answer=True)
