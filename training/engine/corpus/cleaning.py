"""Making text uniform, and leaving out what is no text."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import replace

from training.engine.corpus.formats import Document, Message, Unusable

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\ufeff\u2028\u2029]")
LINE_END = re.compile(r"\r\n?")
TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
BLANK_LINES = re.compile(r"\n{4,}")
MAX_REPEATED_LINES = 0.5  # share of lines that may be copies; Gopher uses 0.3 on web pages, contributions are kinder
MAX_REPLACED = 0.05  # share of U+FFFD, the trace of a lost encoding
MIN_LINES_JUDGED = 20


def clean_document(document: Document, mode: str) -> Document:
    """The document made uniform ("default"), or untouched ("none"). Unusable when it holds no text."""
    return document.change(lambda part: _clean(part, mode))


def _clean(document: Document, mode: str) -> Document:
    _check_unicode(document)
    if mode == "none":
        return document
    if document.text is not None:
        text = clean_text(document.text)
        _check_quality(text)
        return Document(text=text)
    return replace(document, messages=tuple(Message(m.role, clean_text(m.content)) for m in document.messages))


def clean_text(text: str) -> str:
    """NFC, line feeds only, no control characters, no trailing blanks."""
    text = unicodedata.normalize("NFC", LINE_END.sub("\n", text))
    return BLANK_LINES.sub("\n\n\n", TRAILING.sub("", CONTROL.sub("", text))).strip()


def _check_unicode(document: Document) -> None:
    parts = [document.text] if document.text is not None else [m.content for m in document.messages]
    try:
        for part in parts:
            part.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
        raise Unusable("invalid_unicode") from error


def _check_quality(text: str) -> None:
    if not text:
        raise Unusable("empty_text")
    if text.count("\ufffd") > MAX_REPLACED * len(text):
        raise Unusable("broken_encoding")
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) >= MIN_LINES_JUDGED:
        copies = sum(n - 1 for n in Counter(lines).values())
        if copies > MAX_REPEATED_LINES * len(lines):
            raise Unusable("repetitive")
