"""What the description at /api/schema covers: our own REST door. The stock client's addresses are described by its makers."""

from typing import Any

PREFIX = "/api/v1/"


def keep_rest_endpoints(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """Preprocessing hook of drf-spectacular: (path, pattern, method, view) of the addresses to describe."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PREFIX)]
