"""A receiver that listens at 127.0.0.1, and a name server that the test controls."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.receivers import Receiver, serve


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """It listens at 127.0.0.1, which alone is allowed."""
    from hub.site.env import env_networks

    settings.WEBHOOK_ALLOWED_NETWORKS = env_networks("NO_SUCH_VARIABLE", "127.0.0.1/32")
    yield from serve()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The name server of the test: name -> addresses of each look-up in turn. Counts how often it was asked."""
    from hub.community.webhooks import addresses

    table: dict[str, list[list[str]]] = {}
    asked: list[str] = []

    def resolve(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host not in table:
            raise socket.gaierror("Name or service not known")
        answers = table[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        kinds: list[Any] = [
            (socket.AF_INET6, (ip, port, 0, 0)) if ":" in ip else (socket.AF_INET, (ip, port)) for ip in found
        ]
        return [(family, socket.SOCK_STREAM, 6, "", place) for family, place in kinds]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    resolve.table, resolve.asked = table, asked  # type: ignore[attr-defined]
    return resolve
