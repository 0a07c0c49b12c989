"""Bytes of xorbs, one stretch or several in one answer, within what the address was signed for."""

import secrets
from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from hub.api.auth import reads_own_tokens
from hub.api.hf.endpoints import endpoint
from hub.api.hf.ranges import read_ranges
from hub.api.xet.tokens import read_allowed_pieces
from hub.common.errors import Forbidden, NotFound
from hub.repos.places import store
from hub.storage.xet.reconstruction import MAX_PARTS_PER_URL, Parts

BINARY = "application/octet-stream"


def send_data(request: HttpRequest, hash: str) -> HttpResponse:
    """No header proves anything here: what counts is the signature. Without a Range, all that it allows is sent."""
    allowed = read_allowed_pieces(request.GET.get("s", ""), hash)
    size = store().xorb_size(hash)
    if size is None:
        raise NotFound("These bytes are gone; ask for the file again.")
    wanted = read_ranges(request.headers.get("Range"), size, limit=MAX_PARTS_PER_URL) or allowed
    if not all(is_within(part, allowed) for part in wanted):
        raise Forbidden("This address was made for other bytes.")
    return send_one(hash, *wanted[0], size) if len(wanted) == 1 else send_many(hash, wanted, size)


def is_within(part: tuple[int, int], allowed: Parts) -> bool:
    return any(start <= part[0] and part[1] <= end for start, end in allowed)


def send_one(xorb: str, start: int, end: int, size: int) -> HttpResponse:
    headers = {
        "Content-Range": f"bytes {start}-{end - 1}/{size}",
        "Content-Length": str(end - start),
        "Content-Type": BINARY,
    }
    return StreamingHttpResponse(store().read_xorb(xorb, start, end), status=206, headers=headers)


def send_many(xorb: str, parts: Parts, size: int) -> HttpResponse:
    """multipart/byteranges (RFC 9110, section 14.6), in the order asked for."""
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {BINARY}\r\nContent-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode()
        for start, end in parts
    ]
    tail = f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        for head, (start, end) in zip(heads, parts, strict=True):
            yield head
            yield from store().read_xorb(xorb, start, end)
        yield tail

    length = sum(map(len, heads)) + sum(end - start for start, end in parts) + len(tail)
    headers = {"Content-Length": str(length), "Content-Type": f"multipart/byteranges; boundary={boundary}"}
    return StreamingHttpResponse(pieces(), status=206, headers=headers)


data = reads_own_tokens(endpoint(GET=send_data))
