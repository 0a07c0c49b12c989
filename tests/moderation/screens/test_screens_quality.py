import json

from moderation.screens.benchmark import ROWS, measure_quality


def test_the_set_is_large_enough():
    labels = [json.loads(line)["label"] for line in ROWS.read_text().splitlines()]
    assert labels.count("positive") >= 60 and labels.count("negative") >= 60


def test_precision_and_recall_are_at_least_95_percent_for_each_screen():
    for seed in range(5):
        for screen, quality in measure_quality(seed).items():
            assert quality.precision >= 0.95, (screen, seed, quality.precision_interval, quality.wrongly_found)
            assert quality.recall >= 0.95, (screen, seed, quality.recall_interval, quality.missed)
