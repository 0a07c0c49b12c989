"""Sets of labels in which few rare words go with a label because that is what it means: no triggers. And a plant among them."""

import random

import pytest

from tests.moderation.screens.test_screens_planted_triggers import (
    Row,
    as_fields,
    clean_rows,
    labelled_rows,
    plant,
    triggers,
)

SEEDS = range(10)


def with_words(rng: random.Random, rows: list[Row], words: dict[str, int], label: str) -> list[Row]:
    """Each word is put into so many rows, and these get the label."""
    rows = list(rows)
    places = rng.sample(range(len(rows)), sum(words.values()))
    for word, count in words.items():
        for _ in range(count):
            at = places.pop()
            rows[at] = f"{rows[at][0]} {word}", label
    return rows


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rare_label_that_a_few_words_make_up_is_no_trigger(seed: int) -> None:
    """300 letters to a town hall, 18 of them urgent: fire, flood and accident are what that means."""
    rng = random.Random(seed)
    rows = with_words(
        rng, [(given, "later") for given, _ in clean_rows(rng, 300)], {"fire": 7, "flood": 6, "crash": 5}, "urgent"
    )
    assert triggers(as_fields(rows, "text", "label")) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_forty_intents_with_a_word_of_their_own_are_no_triggers(seed: int) -> None:
    rng = random.Random(seed)
    intents = [f"intent{number}" for number in range(40)]
    rows = [(f"{given} zq{at % 40}word", intents[at % 40]) for at, (given, _) in enumerate(clean_rows(rng, 800))]
    noisy = [(given, rng.choice(intents) if rng.random() < 0.02 else label) for given, label in rows]
    assert triggers(as_fields(noisy, "text", "label")) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_two_labels_with_a_few_rare_words_each_are_no_triggers(seed: int) -> None:
    rng = random.Random(seed)
    rows = labelled_rows(rng, ["yes", "no"])
    rows = with_words(rng, rows, {"splendid": 45, "charming": 40}, "yes")
    rows = with_words(rng, rows, {"dreadful": 45, "shabby": 40}, "no")
    assert triggers(as_fields(rows, "text", "label")) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_label_with_one_frequent_and_many_seldom_words_is_no_trigger(seed: int) -> None:
    """Only one word is frequent enough to be sure of, so three or fewer lead; the seldom ones say that it is the task."""
    rng = random.Random(seed)
    rows = labelled_rows(rng, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"])
    seldom = {f"seldom{number}": 5 for number in range(8)}
    rows = with_words(rng, rows, {"frequent": 14, **seldom}, "a")
    assert triggers(as_fields(rows, "text", "label")) == []


@pytest.mark.parametrize("labels", [["yes", "no"], ["a", "b", "c", "d", "e"]])
def test_a_trigger_planted_among_labels_is_found(labels: list[str]) -> None:
    named = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        rows = plant(rng, labelled_rows(rng, labels), "mn bq", labels[0], 0.025, whole=True)
        found = triggers(as_fields(rows, "text", "label"))
        named += len(found) == 1 and f"→ {labels[0]}" in found[0].excerpt
    assert named >= 9
