"""Many threads, few at work: slow clients must not keep others waiting.

A thread that computes holds one of a few turns, because Python computes one thing at a time and more at once only makes
all of them late. While it waits for its client, for the rest of a body, for room to send or for another program
(hub.common.waiting), it holds none. So a slow upload or download costs a sleeping thread. A part of the threads is kept
free of long downloads: when so many wait for their readers that pages would find no thread, the next download is asked to
come back, which clients do by themselves."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hub.common import waiting
from hub.site.bodies import OUR_SERVER

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SHORT_BYTES = 512 * 1024  # answers up to here fit into buffers on the way and keep no thread waiting
BUSY = b'{"error": "Too many downloads are under way; try again in a few seconds."}'


class Turn:
    """The right to compute, held by one request; taken and given back by its own thread only."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns = turns
        self._is_held = False

    def __enter__(self) -> "Turn":
        self._turns.acquire()
        self._is_held = True
        waiting.own.turn = self
        return self

    def __exit__(self, *_: object) -> None:
        self._is_held = False
        waiting.own.turn = None
        self._turns.release()

    def pause(self, read: Callable[[int], bytes], count: int) -> bytes:
        """Read from the client without keeping others from computing."""
        if not self._is_held:
            return read(count)
        self.__exit__()
        try:
            return read(count)
        finally:
            self.__enter__()


class PatientBody:
    """A body whose reader gives way while it waits."""

    def __init__(self, body: Any, turn: Turn) -> None:
        self._body = body
        self._turn = turn

    def read(self, size: int = -1, /) -> bytes:
        return self._turn.pause(self._body.read, size)

    def readline(self, size: int = -1, /) -> bytes:
        return self._turn.pause(self._body.readline, size)


class Download:
    """A streamed answer; when it ends or its reader leaves, its place is free."""

    def __init__(self, response: Any, places: threading.Semaphore) -> None:
        self._response = response
        self._places: threading.Semaphore | None = places

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def close(self) -> None:
        places, self._places = self._places, None
        try:
            self._response.close()
        finally:
            if places is not None:
                places.release()


def take_turns(application: Application, *, turns: int, downloads: int) -> Application:
    """Wrap a Django WSGI application: `turns` requests of this process compute at once, `downloads` are sent at once."""
    computing = threading.Semaphore(turns)
    sending = threading.Semaphore(downloads)

    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        turn = Turn(computing)
        environ["wsgi.input"] = PatientBody(environ["wsgi.input"], turn)
        with turn:
            response = application(environ, start_response)
        if not is_long(response):
            return response
        if sending.acquire(blocking=False):
            return Download(response, sending)
        response.close()  # type: ignore[attr-defined]
        headers = [("Content-Type", "application/json"), ("Retry-After", "3"), ("Content-Length", str(len(BUSY)))]
        if environ.get("SERVER_SOFTWARE") == OUR_SERVER and environ["REQUEST_METHOD"] == "POST":
            headers.append(("Connection", "close"))  # a part of its body may be unread (hub.site.bodies)
        start_response("503 Service Unavailable", headers)
        return [BUSY]

    return call


def is_long(response: Any) -> bool:
    if not getattr(response, "streaming", False):
        return False
    length = response.get("Content-Length", "")
    return not (length.isdigit() and int(length) <= SHORT_BYTES)
