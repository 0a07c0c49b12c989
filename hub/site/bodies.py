"""Request bodies that were cut. Our server ends such a body like one that is whole, without a word; without this a
commit or a form whose sender went away in the middle would be taken for complete."""

import io
from collections.abc import Callable, Iterable
from typing import Any

BUFFER_BYTES = 256 * 1024

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AnnouncedBody(io.RawIOBase):
    """A body of `length` bytes. Raises OSError when it ends earlier."""

    def __init__(self, body: Any, length: int) -> None:
        self._body = body
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        piece = self._body.read(min(len(buffer), self._left))
        if not piece:
            raise OSError(f"The connection ended {self._left} bytes before the end of the body.")
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)


def refuse_cut_bodies(application: Application) -> Application:
    """Wrap a WSGI application. A chunked body announces no length; doors that take one must see by its content whether
    it is whole (hub.api.hf.endpoints.open_body)."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdigit():
            body = AnnouncedBody(environ["wsgi.input"], int(length))
            environ["wsgi.input"] = io.BufferedReader(body, BUFFER_BYTES)
        return application(environ, start_response)

    return call
