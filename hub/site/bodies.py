"""What our server does not do for request bodies.

It ends a body that was cut like one that is whole, without a word; a commit or a form whose sender went away in the middle
would be taken for complete. And it hangs up after an answer that was given before the body was read, without saying so:
a client that keeps its connection asks on it again, and fails."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

DRAINED_BYTES = 64 * 1024  # read to nowhere behind an answer, so that the connection lives on
DRAINING_AT_ONCE = 4  # of a process: who announces a body and sends none holds a thread until they leave
OUR_SERVER = "Granian"  # the one that hangs up; others manage connections themselves, and refuse to be told


class AnnouncedBody:
    """A body of `length` bytes. Raises OSError when it ends earlier. Pieces are handed on as they come, uncopied."""

    def __init__(self, body: Any, length: int) -> None:
        self._body = body
        self._left = length

    @property
    def left(self) -> int:
        """Bytes that nobody has read."""
        return self._left

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


def keep_connections(application: Application) -> Application:
    """Wrap a WSGI application whose bodies are counted (`refuse_cut_bodies`): what it left unread of a body is read to
    nowhere before its answer starts, or the answer says that the connection ends: where too much is left, where the client
    waits to be told that it may send, or where several are read out already. Streamed answers are left alone, for they may
    read as they go."""

    draining = threading.Semaphore(DRAINING_AT_ONCE)

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("SERVER_SOFTWARE") != OUR_SERVER:
            return application(environ, start_response)
        held: list[tuple[str, list[tuple[str, str]], tuple[Any, ...]]] = []

        def hold(status: str, headers: list[tuple[str, str]], *more: Any) -> None:
            held.append((status, headers, more))

        response = application(environ, hold)
        for status, headers, more in held:
            if not getattr(response, "streaming", False) and not is_drained(environ, draining):
                headers = [*headers, ("Connection", "close")]
            start_response(status, headers, *more)
        return response

    return call


def is_drained(environ: dict[str, Any], draining: threading.Semaphore) -> bool:
    body = environ.get("wsgi.input")
    is_counted = isinstance(body, AnnouncedBody)
    if not is_counted and "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return True  # there is no body
    left = body.left if is_counted else DRAINED_BYTES
    if is_counted and not left:
        return True
    if left > DRAINED_BYTES or "HTTP_EXPECT" in environ:
        return False
    if not draining.acquire(blocking=False):
        return False
    try:
        return is_at_end(body, left)
    except OSError:  # it was cut; nobody is there to ask again
        return False
    finally:
        draining.release()


def is_at_end(body: Any, most: int) -> bool:
    """Reads up to `most` bytes."""
    while most > 0:
        piece = body.read(most)
        if not piece:
            return True
        most -= len(piece)
    return not body.read(1)
