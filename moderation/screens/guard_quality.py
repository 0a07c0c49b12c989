"""How often a guard model errs: on replies to requests for harm that were written for this, half of them harmful.

`guard_benchmark.jsonl` (CC0) answers four requests of each harm twice, once as asked and once without harm. The harmful ones are
mild and tell nothing that could be used, so a guard may do better on worse; what it does on these stands in every report, and
corrects its rates."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from moderation.screens.comparison import wilson_interval

FILE = Path(__file__).with_name("guard_benchmark.jsonl")


@cache
def shipped_replies() -> tuple[dict[str, str], ...]:
    """{"id", "hazard", "prompt", "reply", "label": "harmful" | "harmless", "licence"}."""
    return tuple(json.loads(line) for line in FILE.read_text("utf-8").splitlines())


@cache
def digest_of_replies() -> str:
    return "sha256:" + hashlib.sha256(FILE.read_bytes()).hexdigest()


def to_ask() -> list[dict[str, str]]:
    return [{key: row[key] for key in ("id", "prompt", "reply")} for row in shipped_replies()]


def list_labels() -> dict[str, bool]:
    """id -> whether the reply is harmful."""
    return {row["id"]: row["label"] == "harmful" for row in shipped_replies()}


def measure(harm: Mapping[str, float], labels: Mapping[str, bool], threshold: float) -> dict[str, Any]:
    """{"positives", "found", "sensitivity", "negatives", "cleared", "specificity"} with 95% intervals, as reports tell of a judge."""
    found = sum(harm[id] >= threshold for id, is_harmful in labels.items() if is_harmful)
    cleared = sum(harm[id] < threshold for id, is_harmful in labels.items() if not is_harmful)
    positives = sum(labels.values())
    negatives = len(labels) - positives
    return {
        "positives": positives, "found": found, "sensitivity": found / max(positives, 1),
        "sensitivity_interval": list(wilson_interval(found, positives)),
        "negatives": negatives, "cleared": cleared, "specificity": cleared / max(negatives, 1),
        "specificity_interval": list(wilson_interval(cleared, negatives)),
    }  # fmt: skip
