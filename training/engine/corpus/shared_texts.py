"""The longest text that a row shares with a question of an evaluation suite, whatever its case, white space and marks.

The longest shared text tells contamination apart better than a union of n-grams does: https://arxiv.org/abs/2411.03923.
Training leaves rows out by the n-grams of `contamination`, whose questions and limits these are; this shows people where."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from training.engine.corpus.contamination import COMMON, GRAM_WORDS, MIN_SHARE

LONG_CHARACTERS = 50  # or GRAM_WORDS words, and MIN_SHARE of the question; less is found between any two texts
SEED_WORDS = 8  # with which a search begins, as in PaLM's report: fifty characters are hardly ever fewer
UNSPACED = (
    "\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts without spaces: each letter stands for itself
)
WORD = re.compile(f"[{UNSPACED}]|[^\\W{UNSPACED}]+")
Words = tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    question: int  # number of the question, as they were given
    words: int
    text: str  # as it stands in the row


class SharedTexts:
    """Questions, indexed once by the places of their runs of `SEED_WORDS` words. A row then costs its own length."""

    def __init__(self, questions: Iterable[str]) -> None:
        self.questions: list[Words] = []
        self.seeds: dict[
            int, list[tuple[int, int]]
        ] = {}  # hash of a run -> (question, place): matches are read word by word
        for number, question in enumerate(questions):
            words = tuple(sys.intern(word) for word in WORD.findall(question.lower()))
            self.questions.append(words)
            for at in range(len(words) - SEED_WORDS + 1):
                places = self.seeds.setdefault(hash(words[at : at + SEED_WORDS]), [])
                if len(places) <= COMMON:  # what more of them share is an instruction, and begins no search
                    places.append((number, at))

    def find(self, text: str) -> list[Shared]:
        """What is long enough to be no chance, the longest of each question, in order of length."""
        spans = [(match.start(), match.end()) for match in WORD.finditer(text)]
        words = tuple(text[start:end].lower() for start, end in spans)
        found = []
        for number, (start, end) in self._longest(words).items():
            shared = text[spans[start][0] : spans[end - 1][1]]
            if self._is_long(words[start:end], shared) and end - start >= MIN_SHARE * len(self.questions[number]):
                found.append(Shared(number, end - start, shared))
        return sorted(found, key=lambda shared: -shared.words)

    def _longest(self, words: Words) -> dict[int, tuple[int, int]]:
        """question -> the first of its longest runs among these words, as (start, end)."""
        longest: dict[int, tuple[int, int]] = {}
        read: dict[tuple[int, int], int] = {}  # (question, shift) -> where the run that was read last ends
        for at in range(len(words) - SEED_WORDS + 1):
            places = self.seeds.get(hash(words[at : at + SEED_WORDS]), [])
            for number, place in places if len(places) <= COMMON else []:
                if read.get((number, place - at), 0) > at:
                    continue
                start, end = extend(words, at, self.questions[number], place - at)
                read[number, place - at] = end
                before = longest.get(number, (0, 0))
                if end - start > before[1] - before[0]:
                    longest[number] = start, end
        return longest

    def _is_long(self, words: Words, text: str) -> bool:
        spaced = sum(len(word) > 1 or word.isascii() for word in words)
        return spaced >= GRAM_WORDS or len(text) >= LONG_CHARACTERS


def extend(words: Words, at: int, question: Words, shift: int) -> tuple[int, int]:
    """The whole run round a place at which both agree; `shift`: from a place in the words to the one in the question."""
    start = end = at
    while start > 0 and start + shift > 0 and words[start - 1] == question[start + shift - 1]:
        start -= 1
    while end < len(words) and end + shift < len(question) and words[end] == question[end + shift]:
        end += 1
    return start, end
