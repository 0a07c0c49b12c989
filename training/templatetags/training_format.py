"""How scores and verdicts look: `{% load training_format %}`."""

from typing import Any

from django import template

from training.evaluating.evaluations import describe
from training.models import Evaluation

register = template.Library()

METRICS = {
    "accuracy": "share of right answers",
    "acc": "share of right answers",
    "acc_norm": "share of right answers, choices by likelihood per character",
    "acc_bytes": "share of right answers, choices by likelihood per byte",
    "exact_match": "share of exact answers",
    "f1": "words in common with the answer",
    "chrf": "runs of characters in common with the answer",
    "rouge_l": "words in common with the answer, in its order",
    "bits_per_byte": "bits per byte, lower is better",
    "mean": "mean of its parts",
}


@register.filter
def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@register.filter
def signed(value: float | None) -> str:
    """With its sign, a true minus."""
    return "-" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


@register.filter
def small_number(value: float | None) -> str:
    """0.0005 -> 0.0005, 0.00001 -> 1e-05: what a learning rate looks like."""
    return "-" if value is None else f"{value:.3g}"


@register.filter
def compared(value: Any) -> str:
    """A value in a table of runs side by side; "-" where a run has none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@register.filter
def metric_word(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


@register.filter
def verdict_sentence(evaluation: Evaluation) -> str:
    return describe(evaluation).partition(": ")[2]


@register.filter
def last_content(messages: list[dict[str, str]]) -> str:
    """The question that was asked last."""
    return messages[-1]["content"] if messages else ""
