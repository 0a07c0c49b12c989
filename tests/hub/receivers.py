"""A receiver of webhooks in a thread."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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


def run_announcements() -> None:
    """Run the jobs that events have queued."""
    from hub.common.jobs import run
    from hub.common.models import Job

    for job in Job.objects.filter(kind="webhooks.announce", state=Job.State.WAITING).order_by("created_at"):
        run(str(job.pk))
        job.refresh_from_db()
        assert job.state == Job.State.SUCCEEDED, job.reason


def deliver(**later: float) -> int:
    """Announce, and send until nothing is due; `deliver(hours=1)` does so an hour later."""
    from django.utils import timezone

    from hub.community.webhooks.deliveries import send_due

    run_announcements()
    sent = 0
    while more := send_due(now=timezone.now() + timedelta(**later)):
        sent += more
    return sent
