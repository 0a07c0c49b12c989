"""What an answer is worth beside the right one, from 0 to 1: by words, by characters, by their order."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
WORD = re.compile(r"[a-z0-9]+")
CHRF_ORDERS = range(1, 7)
CHRF_BETA = 2  # recall counts twice as much as precision


def normalise_answer(text: str) -> list[str]:
    """Words without case, punctuation and articles, as SQuAD compares them."""
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return ARTICLES.sub(" ", plain).split()


def exact_match(text: str, right: str) -> float:
    return float(normalise_answer(text) == normalise_answer(right))


def f1(text: str, right: str) -> float:
    """Harmonic mean of precision and recall over words. Source: Rajpurkar 2016, https://arxiv.org/abs/1606.05250"""
    given, wanted = normalise_answer(text), normalise_answer(right)
    shared = sum((Counter(given) & Counter(wanted)).values())
    if not given or not wanted:
        return float(given == wanted)
    return 2 * shared / (len(given) + len(wanted))


def chrf(text: str, right: str) -> float:
    """F-score over runs of 1 to 6 characters, blanks left out; a hundredth of what sacrebleu's CHRF says of a sentence.

    Source: Popović 2015, https://aclanthology.org/W15-3049"""
    given, wanted = "".join(text.split()), "".join(right.split())
    orders = [n for n in CHRF_ORDERS if len(given) >= n and len(wanted) >= n]
    if not orders:
        return 0.0
    precision = recall = 0.0
    for n in orders:
        theirs, ours = _count_runs(given, n), _count_runs(wanted, n)
        shared = (theirs & ours).total()
        precision += shared / theirs.total() / len(orders)
        recall += shared / ours.total() / len(orders)
    if not precision + recall:
        return 0.0
    return (1 + CHRF_BETA**2) * precision * recall / (CHRF_BETA**2 * precision + recall)


def _count_runs(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


def rouge_l(text: str, right: str) -> float:
    """F-score over the longest sequence of words that both have in this order, as Google's rouge_score counts it without
    stemming. Words are runs of a to z and digits: other alphabets have chrF.

    Source: Lin 2004, https://aclanthology.org/W04-1013"""
    given, wanted = WORD.findall(text.lower()), WORD.findall(right.lower())
    if not given or not wanted:
        return 0.0
    return 2 * _measure_common(given, wanted) / (len(given) + len(wanted))


def _measure_common(given: list[str], wanted: list[str]) -> int:
    """Length of the longest common subsequence, a whole row of the usual table at a time: bit i of `row` is 0 where the
    length grows at given[i]. Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited"."""
    places: dict[str, int] = {}
    for place, word in enumerate(given):
        places[word] = places.get(word, 0) | 1 << place
    every = row = (1 << len(given)) - 1
    for word in wanted:
        grows = row & places.get(word, 0)
        row = (row + grows | row - grows) & every
    return len(given) - row.bit_count()


TEXT_METRICS: dict[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "f1": f1,
    "chrf": chrf,
    "rouge_l": rouge_l,
}
