"""Pages of lists: cursor pages for the API (Link header), numbered pages for people."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.encoding import escape_uri_path

MAX_PAGE = 1000
MAX_DIGITS = 18  # below 2^63


def read_limit(request: HttpRequest, *, default: int = 50, most: int = MAX_PAGE) -> int:
    """`?limit=` as a number between 1 and `most`."""
    try:
        return max(1, min(int(request.GET.get("limit", default)), most))
    except ValueError:
        return default


def read_number(text: str) -> int | None:
    """A number as addresses write it, or None: no sign, no digits of other kinds ("²"), and it fits a database column."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def next_link(request: HttpRequest, base_url: str, **changes: Any) -> str:
    """Value of a Link header that carries every filter of this request and the changes."""
    query = request.GET.copy()
    for key, value in changes.items():
        query[key] = str(value)
    pairs = [(key, value) for key, values in query.lists() for value in values]
    return f'<{base_url}{escape_uri_path(request.path)}?{urlencode(pairs)}>; rel="next"'


def cut_page(rows: Sequence[Any], *, limit: int) -> tuple[list[Any], bool]:
    """The first `limit` of `limit + 1` fetched rows, and whether there are more."""
    return list(rows[:limit]), len(rows) > limit
