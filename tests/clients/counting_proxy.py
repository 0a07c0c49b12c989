"""A TCP proxy that counts what really goes over, whichever library sends it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE_BYTES = 256 * 1024


class CountingProxy:
    """Stands in front of a local port. `sent` and `received` are bytes as the clients see it."""

    def __init__(self, target_port: int) -> None:
        self.sent = 0
        self.received = 0
        self._target = ("127.0.0.1", target_port)
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed at the end of the test
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._copy, args=(client, server, "sent"), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, "received"), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, counter: str) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                with self._guard:
                    setattr(self, counter, getattr(self, counter) + len(piece))
                target.sendall(piece)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def count_bytes(target_port: int) -> Iterator[CountingProxy]:
    proxy = CountingProxy(target_port)
    try:
        yield proxy
    finally:
        proxy.close()
