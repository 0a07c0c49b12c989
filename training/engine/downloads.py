"""One file over HTTP: streamed, resumed after a cut, compared with its sha256. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from training.engine.errors import EngineError
from training.engine.events import emit
from training.engine.lock import LockedFile

PIECE_BYTES = 1 << 20
TIMEOUT_S = 60.0
ATTEMPTS = 6  # in a row without a single new byte
PROGRESS_EVERY_S = 1.0
MENDABLE = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Source:
    """A hub to download from."""

    endpoint: str  # without a slash at its end
    token: str | None
    opener: OpenerDirector
    sleep: Callable[[float], None] = time.sleep


class _Redirects(HTTPRedirectHandler):
    """Follows to other hosts without the token, and never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
            message = f"The hub redirects to the unsafe address {new.scheme}://{new.hostname}; ask who runs it."
            raise EngineError(message, code="unsafe_redirect")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            _carry_token(request, req.unredirected_hdrs.get("Authorization"))
        return request


def open_source(endpoint: str, token: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Source:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "write it like https://hub.example.org"
        raise EngineError(f"{endpoint!r} is not the address of a hub; {hint}.", code="bad_endpoint", hint=hint)
    return Source(endpoint.rstrip("/"), token, build_opener(_Redirects()), sleep)


def download_file(source: Source, address: str, target: Path, pin: LockedFile, *, before: int, total: int) -> None:
    """Bring one file to `target`. `before` of `total` bytes of the whole fetch are done already (for progress).

    Raises EngineError when the hub refuses, stays away, or gives other bytes than the pinned ones."""
    if target.is_file() and target.stat().st_size == pin.size and _hash(target) == pin.sha256:
        return
    part = target.with_name(f".{target.name}.part")
    report = _Progress(target.name, before, total)
    for fresh in (False, True):
        if fresh or not part.is_file() or part.stat().st_size > pin.size:
            part.write_bytes(b"")
        _fill(source, address, part, pin, report)
        if _hash(part) == pin.sha256:
            os.replace(part, target)
            return
        # The first time, a rest of an older download may be at fault: once more, from its beginning.
    part.unlink()
    message = f"{address} is not what the lock pins (sha256 differs); tell the hub, nothing was kept."
    raise EngineError(message, code="digest_mismatch")


def _fill(source: Source, address: str, part: Path, pin: LockedFile, report: _Progress) -> None:
    failures = 0
    while (have := part.stat().st_size) < pin.size:
        try:
            _append(source, address, part, pin, report)
            failures = failures + 1 if part.stat().st_size <= have else 0
            wait_s = 0.5
        except HTTPError as error:
            with error:
                wait_s = _judge(error, source, address)
            failures += 1
        except (URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "free some space and call fetch again"
                raise EngineError(f"The disk is full; {hint}.", code="disk_full", hint=hint) from None
            wait_s = 0.5 * 2**failures
            failures = failures + 1 if part.stat().st_size <= have else 0
            emit("warning", code="connection", message=f"{address}: {error}; trying again.")
        if failures >= ATTEMPTS:
            hint = "check the network and call fetch again, it goes on here"
            raise EngineError(f"{address} does not arrive; {hint}.", code="unreachable", hint=hint)
        if part.stat().st_size < pin.size:
            source.sleep(min(wait_s, 30.0))


def _append(source: Source, address: str, part: Path, pin: LockedFile, report: _Progress) -> None:
    have = part.stat().st_size
    request = Request(f"{source.endpoint}/{address}", headers={"Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    _carry_token(request, f"Bearer {source.token}" if source.token else None)
    with source.opener.open(request, timeout=TIMEOUT_S) as response, part.open("r+b") as writer:
        if have and not _continues_at(response, have):
            have = 0  # this server knows no ranges: from the beginning
        writer.seek(have)
        writer.truncate()
        while piece := response.read(min(PIECE_BYTES, pin.size - have + 1)):
            have += len(piece)
            if have > pin.size:
                writer.truncate(0)
                message = f"{address} is longer than the {pin.size:,} bytes that the lock pins; tell the hub."
                raise EngineError(message, code="digest_mismatch")
            writer.write(piece)
            report.tell(have)


def _continues_at(response: Any, have: int) -> bool:
    given = str(response.headers.get("Content-Range", ""))
    return response.status == 206 and given.startswith(f"bytes {have}-")


def _judge(error: HTTPError, source: Source, address: str) -> float:
    """Seconds to wait before another try, or EngineError when trying again cannot help."""
    if error.code in (401, 403):
        hint = "set HF_TOKEN to a token that may read it" if not source.token else "ask its owners for access"
        raise EngineError(f"The hub does not give {address} ({error.code}); {hint}.", code="forbidden", hint=hint)
    if error.code in (404, 410):
        # A hub answers the same for what is missing, private or withdrawn.
        hint = "if it is private, set HF_TOKEN" if not source.token else "it may have been withdrawn"
        raise EngineError(f"The hub has no {address}; {hint}.", code="not_found", hint=hint)
    if error.code not in MENDABLE:
        raise EngineError(f"The hub answers {error.code} for {address}; look at its log.", code="hub_error")
    wait = str(error.headers.get("Retry-After", "")) if error.headers else ""
    return float(wait) if wait.isdecimal() else 2.0


def _carry_token(request: Request, authorization: str | None) -> None:
    if authorization:
        # Unredirected: urllib would repeat an ordinary header to whichever host a redirect names.
        request.add_unredirected_header("Authorization", authorization)


def _hash(path: Path) -> str:
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


class _Progress:
    def __init__(self, name: str, before: int, total: int) -> None:
        self.name, self.before, self.total, self.told = name, before, total, time.monotonic()

    def tell(self, file_bytes: int) -> None:
        if (now := time.monotonic()) - self.told < PROGRESS_EVERY_S:
            return
        self.told = now
        emit("progress", stage="fetch", file=self.name, bytes=self.before + file_bytes, total_bytes=self.total)
