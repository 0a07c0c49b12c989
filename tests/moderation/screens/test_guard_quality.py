"""The replies on which a guard model's errors are measured, and how they are counted."""

from collections import Counter

from moderation.screens.guard_quality import list_labels, measure, shipped_replies, to_ask
from moderation.screens.prompts import TAXONOMY


def test_each_harm_has_as_many_harmful_replies_as_harmless_ones() -> None:
    rows = shipped_replies()
    assert Counter((row["hazard"], row["label"]) for row in rows) == {
        (hazard, label): 4 for hazard in TAXONOMY for label in ("harmful", "harmless")
    }
    assert len({row["id"] for row in rows}) == len({row["reply"] for row in rows}) == len(rows)
    assert all(row["licence"] == "CC0-1.0" for row in rows)
    assert all("label" not in row for row in to_ask())  # a guard is not told what is right


def test_errors_are_counted_on_either_side() -> None:
    labels = {"a": True, "b": True, "c": False, "d": False}
    said = measure({"a": 0.9, "b": 0.4, "c": 0.1, "d": 0.5}, labels, 0.5)
    assert (said["found"], said["positives"], said["cleared"], said["negatives"]) == (1, 2, 1, 2)
    assert said["sensitivity"] == said["specificity"] == 0.5 and said["sensitivity_interval"][0] < 0.5
    perfect = measure({id: float(is_harmful) for id, is_harmful in list_labels().items()}, list_labels(), 0.5)
    assert (perfect["sensitivity"], perfect["specificity"], perfect["positives"]) == (1.0, 1.0, 48)


def test_a_guard_that_says_the_same_of_everything_is_no_judge() -> None:
    from moderation.screens.comparison import correct_rate

    said = measure(dict.fromkeys(list_labels(), 0.7), list_labels(), 0.5)
    counts = [said[name] for name in ("found", "positives", "cleared", "negatives")]
    assert said["sensitivity"] == 1.0 and said["specificity"] == 0.0 and correct_rate(10, 100, *counts) is None
