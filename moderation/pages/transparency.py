"""How this hub judges, in figures, for everybody."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from moderation import transparency

PERIOD_WORDS = {"30": "30 days", "90": "90 days", "365": "365 days", "all": "All time"}


def show_figures(request: HttpRequest) -> HttpResponse:
    figures = transparency.read_lately(request.GET.get("days", transparency.USUAL))
    context = {
        "figures": figures,
        "periods": PERIOD_WORDS,
        "is_empty": is_empty(figures),
        "min_decided": transparency.MIN_DECIDED,
        "min_hidden": transparency.MIN_HIDDEN,
    }
    return render(request, "moderation/transparency.html", context)


def is_empty(figures: dict[str, Any]) -> bool:
    """Nothing at all to tell; None of the hidden cases means a few."""
    counts = (figures["waiting"]["open"], figures["screenings"]["all"], *figures["releases"].values())
    return not any(counts) and not figures["cases"] and figures["hidden_cases"] == 0
