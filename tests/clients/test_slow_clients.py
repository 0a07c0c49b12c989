"""Clients that read slowly, send slowly or leave: others do not notice, and nothing goes on for those who left."""

import base64
import hashlib
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import requests

from tests.clients.hidden_garden import large_line, text_line
from tests.clients.running_hub import TOKENS, RunningHub
from tests.recordings import make_recording

LARGE_BYTES = 12_000_000  # more than all buffers on the way hold
QUICK_S = 5.0


@pytest.fixture(scope="module")
def address(granian_server: RunningHub) -> str:
    """A repository with a large file and much text."""
    hub = granian_server
    hub.call("POST", "/api/repos/create", person="alice", json={"name": "slow", "type": "dataset"})
    data = make_recording(LARGE_BYTES)
    batch = {"operation": "upload", "objects": [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}]}
    offer = hub.call("POST", "/datasets/alice/slow.git/info/lfs/objects/batch", person="alice", json=batch)
    assert hub.call("PUT", offer.json()["objects"][0]["actions"]["upload"]["href"], data=data).status_code == 200
    # The long texts come later: whatever the screens make of them, the large file is public.
    noise = [
        text_line((f"{number}.txt", base64.b64encode(random.randbytes(4_000_000)).decode())) for number in range(4)
    ]
    for lines in ([large_line("a.bin", data)], noise):
        answer = hub.commit("/api/datasets/alice/slow/commit/main", *lines)
        assert answer.status_code == 200, answer.text
    return "/datasets/alice/slow"


def begin(hub: RunningHub, head: str, body: bytes = b"", *, reads: int = 1) -> socket.socket:
    """A connection that sent a request and reads no more than the first bytes of its answer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", hub.port))
    connection.sendall(f"{head}\r\nHost: 127.0.0.1:{hub.port}\r\n\r\n".encode() + body)
    if reads:
        assert connection.recv(reads)
    return connection


def answers_quickly(hub: RunningHub, path: str = "/datasets/alice/slow") -> bool:
    started = time.monotonic()
    assert requests.get(hub.url + path, timeout=30).status_code == 200
    return time.monotonic() - started < QUICK_S


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def open_connections() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_who_reads_slowly_keeps_nobody_waiting(granian_server: RunningHub, address: str, open_connections: ExitStack):
    for _ in range(16):  # four times the requests that the server computes at once
        connection = begin(granian_server, f"GET {address}/resolve/main/a.bin HTTP/1.1", reads=100)
        open_connections.enter_context(connection)
    assert all(answers_quickly(granian_server) for _ in range(8))


def test_who_sends_slowly_keeps_nobody_waiting(granian_server: RunningHub, address: str, open_connections: ExitStack):
    token = f"Authorization: Bearer {TOKENS['alice']}"
    for number in range(16):
        path = f"{address}/upload/parts/1?path=slow-{number}.bin&size=1000000&modified=1"
        head = f"PUT {path} HTTP/1.1\r\n{token}\r\nContent-Length: 1000000"
        open_connections.enter_context(begin(granian_server, head, b"x" * 1000, reads=0))
    time.sleep(0.3)  # until the server waits for the rest of all of them
    assert all(answers_quickly(granian_server) for _ in range(8))


def test_too_many_slow_readers_are_asked_to_come_back_and_pages_go_on(
    granian_server: RunningHub, address: str, open_connections: ExitStack
):
    from hub.site.bootstrap.services import WEB_THREADS, WEB_WORKERS

    answers = []
    for _ in range(WEB_WORKERS * WEB_THREADS):
        connection = begin(granian_server, f"GET {address}/resolve/main/a.bin HTTP/1.1", reads=0)
        open_connections.enter_context(connection)
        answers.append(connection.recv(4000))
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503")]
    assert refused and b"retry-after: 3" in refused[0].lower()
    assert answers_quickly(granian_server) and answers_quickly(granian_server, "/static/css/tokens.css")
    open_connections.close()
    assert wait_until(lambda: granian_server.call("GET", f"{address}/resolve/main/a.bin").status_code == 200)
    assert len(granian_server.call("GET", f"{address}/resolve/main/a.bin").content) == LARGE_BYTES


def list_fetches(hub: RunningHub) -> list[str]:
    """Processes of git that serve fetches of this hub."""
    listing = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "upload-pack" in line and str(hub.data_dir) in line]


def test_git_stops_when_its_client_leaves(granian_server: RunningHub, address: str):
    head = granian_server.git_in("slow", "rev-parse", "main")
    line = f"want {head} side-band-64k no-progress\n".encode()
    body = b"%04x%s" % (len(line) + 4, line) + b"00000009done\n"
    token = f"Authorization: Bearer {TOKENS['alice']}\r\nContent-Type: application/x-git-upload-pack-request"
    request = f"POST {address}.git/git-upload-pack HTTP/1.1\r\n{token}\r\nContent-Length: {len(body)}"
    connection = begin(granian_server, request, body, reads=1000)
    assert wait_until(lambda: bool(list_fetches(granian_server)))
    connection.close()
    assert wait_until(lambda: not list_fetches(granian_server))
