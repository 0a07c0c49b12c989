"""A small web server around hub.storage.git.wire, for the stock git client to talk to."""

import contextlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from hub.storage.errors import StorageError
from hub.storage.git import GitRepo
from hub.storage.git.wire import (
    GzipBody,
    Quarantine,
    RefCommand,
    RefResult,
    advertise,
    receive,
    upload_pack,
)


def accept_all(quarantine: Quarantine, commands: list[RefCommand]) -> list[RefResult]:
    return [RefResult(command) for command in commands]


@dataclass
class Door:
    """One path of the server: what it serves and who judges."""

    repo: GitRepo
    reads: GitRepo
    judge: Callable[[Quarantine, list[RefCommand]], list[RefResult]] = accept_all
    visible: Callable[[str], bool] | None = None
    public: GitRepo | None = None
    after: Callable[[list[RefResult]], Iterable[str]] | None = None
    limit_bytes: int = 100 * 1024**2
    seen: list[dict[str, str]] = field(default_factory=list)  # headers of each POST
    results: list[RefResult] = field(default_factory=list)


class LimitedBody:
    def __init__(self, raw: io.BufferedIOBase, length: int) -> None:
        self._raw, self._left = raw, length

    def read(self, size: int, /) -> bytes:
        piece = self._raw.read(min(size, self._left))
        self._left -= len(piece)
        return piece


class ChunkedBody:
    def __init__(self, raw: io.BufferedIOBase) -> None:
        self._raw, self._left, self._is_done = raw, 0, False

    def read(self, size: int, /) -> bytes:
        if self._is_done:
            return b""
        if not self._left:
            self._left = int(self._raw.readline(), 16)
            if not self._left:
                self._raw.readline()
                self._is_done = True
                return b""
        piece = self._raw.read(min(size, self._left))
        self._left -= len(piece)
        if not self._left:
            self._raw.readline()
        return piece


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    doors: dict[str, Door]

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        door = self.doors[address.path.split("/")[1]]
        service = parse_qs(address.query)["service"][0]
        repo = door.repo if service == "git-receive-pack" else door.reads
        self.answer(
            f"application/x-{service}-advertisement",
            [
                advertise(
                    repo,
                    service,
                    protocol=self.headers.get("Git-Protocol"),
                    visible=door.visible if repo is door.repo else None,
                    public=door.public if service == "git-receive-pack" else None,
                )
            ],
        )

    def do_POST(self) -> None:
        _, name, service = self.path.split("/")
        door = self.doors[name]
        door.seen.append({key.lower(): value for key, value in self.headers.items()} | {"service": service})
        raw = ChunkedBody(self.rfile) if self.headers.get("Transfer-Encoding") == "chunked" else self.limited()
        body = GzipBody(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        try:
            pieces = self.serve(door, service, body)
        except StorageError as refusal:
            self.send_error(400, str(refusal))
            return
        self.answer(f"application/x-{service}-result", pieces)

    def limited(self) -> LimitedBody:
        return LimitedBody(self.rfile, int(self.headers.get("Content-Length", "0")))

    def serve(self, door: Door, service: str, body: LimitedBody | ChunkedBody | GzipBody) -> Iterable[bytes]:
        if service == "git-upload-pack":
            return upload_pack(door.reads, body, protocol=self.headers.get("Git-Protocol"))
        return [
            receive(
                door.repo,
                body,
                judge=door.judge,
                limit_bytes=door.limit_bytes,
                visible=door.visible,
                public=door.public,
                after=lambda results: self.remember(door, results),
            )
        ]

    def remember(self, door: Door, results: list[RefResult]) -> Iterable[str]:
        door.results = results
        return door.after(results) if door.after else ()

    def answer(self, kind: str, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            if isinstance(pieces, Iterator):
                pieces.close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def serve(doors: dict[str, Door]) -> Iterator[str]:
    """The address of a running server; it is gone on leaving."""
    handler = type("BoundHandler", (Handler,), {"doors": doors})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
