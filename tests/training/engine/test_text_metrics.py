"""Answers are worth what the published metrics say; chrF and ROUGE-L are those of the libraries that define them."""

import random

import pytest

from training.engine.evals.text_metrics import TEXT_METRICS, chrf, exact_match, f1, rouge_l

PAIRS = [
    ("The Moon!", "moon"),
    ("It is the moon.", "the Moon"),
    ("", "moon"),
    ("moon", "moon"),
    ("ab", "a"),
    ("xyz", "abc"),
    ("высокая вода", "вода высокая"),
    ("the tide rises in the harbour at noon", "at noon the tide rises, rises and falls in a harbour"),
    ("a b a b a b c", "b a c a b"),
]  # fmt: skip


def make_pairs() -> list[tuple[str, str]]:
    rng = random.Random(4)
    words = ["tide", "sea,", "the", "Rain", "of", "2", "boats.", "é"]
    return PAIRS + [tuple(" ".join(rng.choices(words, k=rng.randrange(90))) for _ in "ab") for _ in range(40)]


@pytest.mark.parametrize(
    ("text", "right", "exact", "overlap"),
    [
        ("The Moon!", "moon", 1.0, 1.0),
        ("It is the moon", "the Moon", 0.0, 0.5),
        ("", "moon", 0.0, 0.0),
        ("the", "a", 1.0, 1.0),
        ("high water, high water", "high water", 0.0, 2 / 3),
    ],
)
def test_answers_are_compared_by_words(text: str, right: str, exact: float, overlap: float) -> None:
    assert exact_match(text, right) == exact
    assert f1(text, right) == pytest.approx(overlap)


def test_chrf_is_that_of_sacrebleu() -> None:
    from sacrebleu.metrics import CHRF

    judge = CHRF()
    for text, right in make_pairs():
        assert chrf(text, right) * 100 == pytest.approx(judge.sentence_score(text, [right]).score, abs=1e-9), text
    assert chrf("moon", "moon") == 1.0


@pytest.mark.slow  # the library loads nltk
def test_rouge_l_is_that_of_rouge_score() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    judge = RougeScorer(["rougeL"], use_stemmer=False)
    for text, right in make_pairs():
        assert rouge_l(text, right) == pytest.approx(judge.score(right, text)["rougeL"].fmeasure, abs=1e-12), text


@pytest.mark.parametrize(
    ("text", "right", "score"),
    [  # what rouge_score 0.1.2 gives
        ("It is the moon.", "the Moon", 2 / 3),
        ("the tide rises in the harbour at noon", "at noon the tide rises, rises and falls in a harbour", 10 / 19),
        ("a b a b a b c", "b a c a b", 8 / 12),
        ("высокая вода", "вода", 0.0),
    ],
)
def test_rouge_l_counts_the_longest_common_order_of_words(text: str, right: str, score: float) -> None:
    assert rouge_l(text, right) == pytest.approx(score, abs=1e-12)


def test_a_long_answer_is_compared_at_once() -> None:
    long = " ".join(str(n % 977) for n in range(20_000))
    assert rouge_l(long[:4000], long) < 0.2
    assert {name: rate("tide", "tide") for name, rate in TEXT_METRICS.items()} == dict.fromkeys(TEXT_METRICS, 1.0)
