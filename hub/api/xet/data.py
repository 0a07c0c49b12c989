"""Bytes of xorbs, one stretch or several in one answer, within what the address was signed for."""

import re
import secrets
from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from hub.api.auth import reads_own_tokens
from hub.api.hf.endpoints import endpoint
from hub.api.hf.ranges import read_ranges
from hub.api.xet.tokens import read_allowed_pieces
from hub.common.errors import Forbidden, NotFound
from hub.repos.places import store
from hub.storage.xet.reconstruction import MAX_PARTS_PER_URL, Parts

BINARY = "application/octet-stream"
ONE_RANGE = re.compile(r"bytes=\d{1,18}-\d{0,18}")


def send_data(request: HttpRequest, hash: str) -> HttpResponse:
    """No header proves anything here: what counts is the signature. Without a Range, all that it allows is sent."""
    allowed = read_allowed_pieces(request.GET.get("s", ""), hash)
    size = store().xorb_size(hash)
    if size is None:
        raise NotFound("These bytes are gone; ask for the file again.")
    asked = read_ranges(request.headers.get("Range"), size, limit=MAX_PARTS_PER_URL)
    wanted = asked or allowed
    if not all(is_within(part, allowed) for part in wanted):
        raise Forbidden("This address was made for other bytes.")
    if len(asked) == 1 and is_for_proxy(request):
        return hand_to_proxy(hash)
    return send_one(hash, *wanted[0], size) if len(wanted) == 1 else send_many(hash, wanted, size)


def is_for_proxy(request: HttpRequest) -> bool:
    """Whether nginx in front of us may send the stretch from disk. It reads the request's Range itself, which was found to
    be allowed; so it must be one that means the same to everybody, and no If-Range may turn it into the whole xorb."""
    plain = ONE_RANGE.fullmatch(request.headers.get("Range", "")) and "If-Range" not in request.headers
    return bool(settings.ACCEL_REDIRECT_PREFIX and plain and not settings.STORE_URL)


def hand_to_proxy(xorb: str) -> HttpResponse:
    address = f"{settings.ACCEL_REDIRECT_PREFIX}/{xorb[:2]}/{xorb[2:4]}/{xorb}"
    return HttpResponse(headers={"X-Accel-Redirect": address, "Content-Type": BINARY})


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
