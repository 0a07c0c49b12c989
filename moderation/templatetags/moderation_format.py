"""How rates and names look on moderation's pages: `{% load moderation_format %}`."""

from typing import Any

from django import template

register = template.Library()


@register.filter
def percent(rate: float | None) -> str:
    """0.125 -> 12.5%, 0 -> 0%."""
    return "" if rate is None else f"{100 * rate:.3g}%"


@register.filter
def points(difference: float | None) -> str:
    """A difference of two rates in percentage points, with its sign and a true minus."""
    return "" if difference is None else f"{100 * difference:+.3g}".replace("-", "\N{MINUS SIGN}")


@register.filter
def spaced(name: Any) -> str:
    """max_new_tokens -> Max new tokens."""
    text = str(name).replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]


@register.filter
def total_size(files: list[tuple[str, dict[str, Any]]]) -> int:
    return sum(pin["size"] for _, pin in files)
