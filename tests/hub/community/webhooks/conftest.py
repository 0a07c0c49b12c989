"""A receiver in a thread, and a name server that the test controls."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Receiver:
    """What it got, and what it answers: statuses in turn, the last one from then on."""

    port: int
    statuses: list[int] = field(default_factory=lambda: [200])
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"thanks"
    drips: bool = False  # a byte of the answer now and then, for ever
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


class Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver.requests.append((dict(self.headers), body))
        status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
        try:
            self.send_response(status)
            while receiver.drips:
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.01)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(receiver.body)
        except OSError:
            pass

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


def serve(wrap: Any = None) -> Iterator[Receiver]:
    server = Server(("127.0.0.1", 0), type("Handler", (Handler,), {}))
    if wrap is not None:
        server.socket = wrap(server.socket)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    receiver = Receiver(server.server_port, scheme="https" if wrap else "http")
    server.RequestHandlerClass.receiver = receiver  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield receiver
    receiver.drips = False
    server.shutdown()
    server.server_close()


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
