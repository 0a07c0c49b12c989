"""Bodies of requests as git sends them: chunked without a length, and sometimes compressed."""

from typing import Any

from django.http import HttpRequest

from hub.storage.git.packets import Readable
from hub.storage.git.wire import GzipBody


class RawBody:
    """The server's own stream. Django reads nothing of a body without Content-Length, and pushes over 1 MiB have none."""

    def __init__(self, stream: Any, length: int | None):
        self.stream = stream
        self.left = length

    def read(self, size: int, /) -> bytes:
        if self.left is None:
            return bytes(self.stream.read(size))
        piece = bytes(self.stream.read(min(size, self.left)))
        self.left -= len(piece)
        return piece


def open_body(request: HttpRequest) -> Readable:
    """Read at most what the request says it has, or to its end when it is chunked."""
    stream = request.META.get("wsgi.input")
    if stream is None or not hasattr(stream, "read"):
        body: Readable = request  # the test client
    else:
        length = request.META.get("CONTENT_LENGTH") or ""
        is_chunked = "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()
        body = RawBody(stream, None if is_chunked or not length.isdigit() else int(length))
    if request.headers.get("Content-Encoding", "") in ("gzip", "x-gzip"):
        return GzipBody(body)
    return body
