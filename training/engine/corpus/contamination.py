"""Leaving out rows that hold questions of the evaluation suites: a model must not learn the examination by heart. And saying
of which questions a part stands in the rows that stay."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from training.engine.corpus.readers import read_rows
from training.engine.inputs import InputRepo

GRAM_WORDS = 13  # as in GPT-3 and Llama's reports
MIN_ITEM_WORDS = 6  # "What is it?" is nobody's property
MIN_SHARE = 0.5  # of an item's 13-grams; a shared instruction alone is no contamination
COMMON = 8  # a run of words that more items share is an instruction, and says of none that it was seen
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
        return self.compare(text)[0]

    def compare(self, text: str) -> tuple[bool, set[int]]:
        """Whether the text holds a whole question, and the numbers of those of which it shares a run of 13 words with one of
        its own (of a shorter question: all words), beginning to end without a gap."""
        words = WORD.findall(text.lower())
        hits: Counter[int] = Counter()
        seen: set[int] = set()
        for length, known in self.grams.items():
            for gram in set(list_grams(words, length)):
                items = known.get(gram, ())
                hits.update(items)
                if len(items) <= COMMON:
                    seen.update(items)
        return any(count >= MIN_SHARE * self.items[item] for item, count in hits.items()), seen


def list_grams(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[i : i + length]) for i in range(len(words) - length + 1))


@dataclass(frozen=True)
class Question:
    text: str
    path: str  # of the file in the suite
    row: int  # number in the file


def read_questions(suite: InputRepo) -> Iterator[Question]:
    """Every question, prompt and text in the suite's files; where a row has none of these columns, all its texts."""
    for path in suite.list_files():
        if path.lower().endswith((".jsonl", ".parquet")):
            for row in read_rows(suite, path):
                yield from (Question(text, path, row.number) for text in _find_texts(row.value))


class Examination:
    """The questions of all suites of a run: what must not be learnt, and what was seen all the same."""

    def __init__(self, suites: list[InputRepo]) -> None:
        asked = [(suite, question) for suite in suites for question in read_questions(suite)]
        self.suites = suites
        self.owners = [(suite.name, question.path, question.row) for suite, question in asked]
        self.filter = ContaminationFilter(question.text for _, question in asked)

    def describe(self, seen: set[int]) -> list[dict[str, Any]]:
        """[{"suite", "commit", "files": {path: {"items", "compared", "seen"}}}]; an item is a row of the file, and rows of
        fewer than six words are not compared."""
        items, compared, met = self._count(range(len(self.owners))), self._count(self.filter.items), self._count(seen)
        return [
            {
                "suite": suite.id,
                "commit": suite.commit,
                "files": {
                    path: {"items": count, "compared": compared[name, path], "seen": met[name, path]}
                    for (name, path), count in sorted(items.items())
                    if name == suite.name
                },
            }
            for suite in self.suites
        ]

    def _count(self, questions: Iterable[int]) -> Counter[tuple[str, str]]:
        """Rows by suite and file that these questions belong to."""
        return Counter((suite, path) for suite, path, _ in {self.owners[number] for number in questions})


def _find_texts(row: dict[str, Any]) -> Iterator[str]:
    named = [row[name] for name in QUESTION_COLUMNS if isinstance(row.get(name), str)]
    return iter(named or [text for text in row.values() if isinstance(text, str)])
