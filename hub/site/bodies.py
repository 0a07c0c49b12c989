"""Request bodies that were cut. Our server ends such a body like one that is whole, without a word; without this a
commit or a form whose sender went away in the middle would be taken for complete."""

from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class AnnouncedBody:
    """A body of `length` bytes. Raises OSError when it ends earlier. Pieces are handed on as they come, uncopied."""

    def __init__(self, body: Any, length: int) -> None:
        self._body = body
        self._left = length

    def read(self, size: int | None = -1, /) -> bytes:
        """`size` bytes, fewer at the end only."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        pieces: list[bytes] = []
        while wanted:
            piece = self._body.read(wanted)
            if not piece:
                raise OSError(f"The connection ended {self._left} bytes before the end of the body.")
            pieces.append(piece)
            wanted -= len(piece)
            self._left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Slow; programs of ours read lines through a buffer of their own."""
        most = self._left if size is None or size < 0 else size
        line = bytearray()
        while len(line) < most and not line.endswith(b"\n") and (letter := self.read(1)):
            line += letter
        return bytes(line)


def refuse_cut_bodies(application: Application) -> Application:
    """Wrap a WSGI application. A chunked body announces no length; doors that take one must see by its content whether
    it is whole (hub.api.hf.endpoints.open_body)."""

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or ""
        if length.isdigit():
            environ["wsgi.input"] = AnnouncedBody(environ["wsgi.input"], int(length))
        return application(environ, start_response)

    return call
