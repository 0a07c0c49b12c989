"""Leaving out rows that hold questions of the evaluation suites: a model must not learn the examination by heart."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from training.engine.corpus.readers import read_rows
from training.engine.inputs import InputRepo

GRAM_WORDS = 13  # as in GPT-3 and Llama's reports
MIN_ITEM_WORDS = 6  # "What is it?" is nobody's property
MIN_SHARE = 0.5  # of an item's 13-grams; a shared instruction alone is no contamination
QUESTION_COLUMNS = ("question", "prompt", "text")
WORD = re.compile(r"\w+")


class ContaminationFilter:
    """Knows the questions of suites by the hashes of their word n-grams (shorter questions whole)."""

    def __init__(self, questions: Iterable[str]) -> None:
        self.items: dict[int, int] = {}  # item -> number of its distinct grams
        self.grams: dict[int, dict[tuple[str, ...], list[int]]] = defaultdict(dict)
        for item, question in enumerate(questions):
            words = WORD.findall(question.lower())
            if len(words) < MIN_ITEM_WORDS:
                continue
            length = min(GRAM_WORDS, len(words))
            grams = set(list_grams(words, length))
            self.items[item] = len(grams)
            for gram in grams:
                self.grams[length].setdefault(gram, []).append(item)

    def holds_question(self, text: str) -> bool:
        words = WORD.findall(text.lower())
        hits: Counter[int] = Counter()
        for length, known in self.grams.items():
            for gram in set(list_grams(words, length)):
                hits.update(known.get(gram, ()))
        return any(count >= MIN_SHARE * self.items[item] for item, count in hits.items())


def list_grams(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))


def read_questions(suite: InputRepo) -> Iterator[str]:
    """Every question, prompt and text in the suite's files; where a row has none of these columns, all its texts."""
    for path in suite.list_files():
        if path.lower().endswith((".jsonl", ".parquet")):
            for row in read_rows(suite, path):
                yield from _find_texts(row.value)


def _find_texts(row: dict[str, Any]) -> Iterator[str]:
    named = [row[name] for name in QUESTION_COLUMNS if isinstance(row.get(name), str)]
    return iter(named or [text for text in row.values() if isinstance(text, str)])
