"""Requests whose sender goes away in the middle of the body."""

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.clients.running_hub import TOKENS, RunningHub


def send_cut(
    hub: RunningHub,
    path: str,
    body: bytes,
    *,
    method: str = "POST",
    keep: int,
    person: str | None = "alice",
    headers: Mapping[str, str] | None = None,
    is_chunked: bool = False,
    is_rude: bool = False,
) -> tuple[int, bytes]:
    """Send the first `keep` bytes of a body that was announced whole, and stop sending; (status, answer).

    A rude sender resets the connection and hears no answer: (0, nothing)."""
    lines = {"Host": f"127.0.0.1:{hub.port}", "Connection": "close", **(headers or {})}
    if person:
        lines.setdefault("Authorization", f"Bearer {TOKENS[person]}")
    lines |= {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    part = body[:keep]
    with socket.create_connection(("127.0.0.1", hub.port), timeout=60) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part) if is_chunked and part else part)
        if is_rude:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return 0, b""
        with suppress(OSError):  # it was refused already, and the connection is closed
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    return status, answer.partition(b"\r\n\r\n")[2]


def snapshot(hub: RunningHub, name: str) -> dict[str, Any]:
    """Everything of alice's repository that a commit or an upload would change."""
    store = hub.data_dir / "store"
    return {
        "refs": hub.git_in(name, "for-each-ref"),
        "revisions": hub.query("SELECT count(*) FROM hub_revision"),
        "contents": hub.query("SELECT count(*) FROM hub_content"),
        "uploads": hub.query("SELECT count(*) FROM hub_uploadedblob"),
        "discussions": hub.query("SELECT count(*) FROM hub_discussion"),
        "notes": hub.query("SELECT count(*) FROM hub_pendingwrite"),
        "stored": sorted(path.name for path in store.glob("sha256/*/*")),
        "xorbs": sorted(path.name for path in store.glob("xorbs/*/*/*")),
    }
