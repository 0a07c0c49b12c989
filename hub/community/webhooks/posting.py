"""One POST to a checked address: pinned, without redirects, bounded in bytes and in time."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub.common.errors import InvalidInput
from hub.community.webhooks.addresses import NotReachable, Target, look_up, read_url

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 4096  # read of an answer
MAX_EXCERPT_CHARACTERS = 500  # kept of it, for the owner


@dataclass(frozen=True)
class Answer:
    status: int
    excerpt: str

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class PinnedConnection(http.client.HTTPConnection):
    """A connection to addresses that are judged already. The name is only told to the other side: in the Host header,
    and with https for its certificate."""

    def __init__(self, target: Target, places: list[tuple[int, Any]], deadline: float):
        super().__init__(target.host, target.port)
        self.default_port = 443 if target.scheme == "https" else 80  # whether Host names the port
        self.target, self.places, self.deadline = target, places, deadline
        self.is_cut = False

    def connect(self) -> None:
        self.sock = self.open_first()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.target.scheme == "https":
            # The handshake is a step of its own: `cut` must find the socket while it lasts.
            self.sock = ssl.create_default_context().wrap_socket(
                self.sock, server_hostname=self.target.host.rstrip("."), do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def open_first(self) -> socket.socket:
        """The first address that takes the connection; each is tried for its share of the time."""
        problem: OSError = TimeoutError()
        for position, (family, place) in enumerate(self.places):
            left = self.deadline - time.monotonic()
            if left <= 0:
                break
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(left / (len(self.places) - position))
                sock.connect(place)
                sock.settimeout(max(self.deadline - time.monotonic(), 0.01))
                return sock
            except OSError as failure:
                sock.close()
                problem = failure
        raise problem

    def cut(self) -> None:
        """Time is over. A socket's own timeout counts from byte to byte and would let a slow one go on for ever."""
        self.is_cut = True
        if self.sock is not None:
            try:
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # not of ssl, which would wait for the other side
            except OSError:
                pass


def post(url: str, *, headers: Mapping[str, str], body: bytes, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send it and read the beginning of the answer. Raises NotReachable with a sentence for the owner.

    Touches no database: many run at once, in threads."""
    deadline = time.monotonic() + timeout_s
    try:
        target = read_url(url)
    except InvalidInput as problem:  # it was checked when it was given; what the operator allows may have changed
        raise NotReachable(problem.message) from None
    places = look_up(target)
    connection = PinnedConnection(target, places, deadline)
    cutter = threading.Timer(max(deadline - time.monotonic(), 0), connection.cut)
    cutter.daemon = True
    cutter.start()
    try:
        connection.request("POST", target.path, body=body, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        return Answer(response.status, read_excerpt(response))
    except ssl.SSLCertVerificationError as problem:
        raise NotReachable(f"The certificate of {target.host} is not accepted: {problem.verify_message}.") from None
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise NotReachable(describe_failure(target, problem, connection.is_cut, timeout_s)) from None
    finally:
        cutter.cancel()
        connection.close()


def read_excerpt(response: http.client.HTTPResponse) -> str:
    """The first words of the answer, without signs that a page or a terminal would obey. The verdict is the status: an
    answer that breaks off after it has given it."""
    try:
        data = response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException, ValueError):
        data = b""
    text = data.decode("utf-8", "replace")
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")[:MAX_EXCERPT_CHARACTERS]


def describe_failure(target: Target, problem: Exception, is_cut: bool, timeout_s: float) -> str:
    if is_cut or isinstance(problem, TimeoutError):
        return f"{target.host} did not answer within {timeout_s:g} seconds."
    if isinstance(problem, ConnectionRefusedError):
        return f"{target.host} takes no connection at port {target.port}."
    if isinstance(problem, ssl.SSLError):
        return f"{target.host} does not speak TLS as it should at port {target.port}; is it http?"
    if isinstance(problem, http.client.HTTPException) and not isinstance(problem, ConnectionError):
        return f"{target.host} answered at port {target.port}, but not in HTTP."
    return f"The connection to {target.host} at port {target.port} broke off."
