"""Pages of moderation as text."""

import re
from collections.abc import Callable
from typing import Any

Browser = Callable[..., Any]


def words(response: Any) -> str:
    """The text of a page, tags and repeated spaces left out."""
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", response.content.decode(), flags=re.DOTALL)
    return " ".join(text.split())
