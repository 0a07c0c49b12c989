"""git's smart HTTP protocol, versions 0 to 2, without a web framework: what a door needs to speak it.

GET  .../info/refs?service=S -> advertise(...)       as application/x-S-advertisement
POST .../git-upload-pack     -> upload_pack(...)     as application/x-git-upload-pack-result
POST .../git-receive-pack    -> receive(...)         as application/x-git-receive-pack-result
A body with Content-Encoding: gzip goes through GzipBody first; a chunked body must arrive unchunked."""

import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

from hub.storage.errors import InvalidOperation, StorageError, TooLarge
from hub.storage.git.packets import FLUSH, PIECE_BYTES, GzipBody, Readable, format_packet
from hub.storage.git.processes import PIPE_BYTES, build_environment, start_git, stop_git
from hub.storage.git.quarantine import Quarantine, list_visible_refs, sweep_leftovers
from hub.storage.git.receiving import (
    CAPABILITIES,
    MAX_PUSH_BYTES,
    ZERO,
    Push,
    RefCommand,
    RefResult,
    read_commands,
    receive,
)
from hub.storage.git.repository import GitRepo

PROTOCOL = re.compile(r"version=[012]")
MAX_REQUEST_BYTES = 64 * 1024**2  # wants and haves of one fetch
FETCH_S = 3600.0  # whole answer, the client's reading time included
SILENCE_S = 120.0  # upload-pack says something every 5 s while it packs


def advertise(
    repo: GitRepo,
    service: str,
    *,
    protocol: str | None,
    visible: Callable[[str], bool] | None = None,
    public: GitRepo | None = None,
) -> bytes:
    """The answer to info/refs. `protocol` is the Git-Protocol header.

    Of `repo` only the references that `visible` names are told; of `public`, when given, all (a stranger's push).
    Hidden is not secret: an object that `repo` holds can be fetched by id. Raises InvalidOperation."""
    if service == "git-receive-pack":
        refs = list_visible_refs(repo, visible=visible, public=public)
        return _announce(service) + _format_refs(refs, CAPABILITIES)
    if service != "git-upload-pack":
        raise InvalidOperation(f"Service {service[:50]!r} does not exist; use git-upload-pack or git-receive-pack.")
    version = _read_protocol(protocol)
    environment = build_environment(settings=_hide(repo, visible), protocol=version)
    process = start_git(repo.path, *_upload_arguments(repo, "--advertise-refs"), environment=environment)
    try:
        output, _ = process.communicate(timeout=SILENCE_S)
    except subprocess.TimeoutExpired:
        raise StorageError("Listing the references takes too long; try again later.") from None
    finally:
        stop_git(process)
    return output if version == "version=2" else _announce(service) + output


def _announce(service: str) -> bytes:
    return format_packet(f"# service={service}\n".encode()) + FLUSH


def _format_refs(refs: dict[str, str], capabilities: str) -> bytes:
    lines = [f"{oid} {ref}" for ref, oid in refs.items()] or [f"{ZERO} capabilities^{{}}"]
    lines[0] += f"\0{capabilities}"
    return b"".join(format_packet(f"{line}\n".encode()) for line in lines) + FLUSH


def _read_protocol(header: str | None) -> str | None:
    """Only the version: the header may carry anything."""
    match = PROTOCOL.search(header or "")
    return match[0] if match else None


def _hide(repo: GitRepo, visible: Callable[[str], bool] | None) -> list[tuple[str, str]]:
    return [("uploadpack.hideRefs", ref) for ref in repo.refs() if visible is not None and not visible(ref)]


def _upload_arguments(repo: GitRepo, *options: str) -> list[str]:
    return ["upload-pack", "--strict", "--stateless-rpc", *options, str(repo.path)]


def upload_pack(
    repo: GitRepo,
    body: Readable,
    *,
    protocol: str | None,
    visible: Callable[[str], bool] | None = None,
    limit_s: float = FETCH_S,
) -> Iterator[bytes]:
    """The answer to a fetch, piece by piece. Closing the iterator (the client went away) ends git at once.

    Raises TooLarge at once when the request is larger than any real one."""
    request = _spool(body)
    environment = build_environment(settings=_hide(repo, visible), protocol=_read_protocol(protocol))
    return _answer(repo, request, environment, limit_s)


def _spool(body: Readable) -> IO[bytes]:
    """The whole request as a file: git then never waits for the client, and the client never for a full pipe."""
    request = tempfile.TemporaryFile()
    taken = 0
    while piece := body.read(PIECE_BYTES):
        taken += len(piece)
        if taken > MAX_REQUEST_BYTES:
            request.close()
            raise TooLarge(f"A fetch may ask with at most {MAX_REQUEST_BYTES} bytes; fetch fewer references at once.")
        request.write(piece)
    request.seek(0)
    return request


def _answer(repo: GitRepo, request: IO[bytes], environment: dict[str, str], limit_s: float) -> Iterator[bytes]:
    with request:
        process = start_git(repo.path, *_upload_arguments(repo), stdin=request, environment=environment)
        try:
            yield from _read_pieces(process, limit_s)
        finally:
            stop_git(process)


def _read_pieces(process: subprocess.Popen[bytes], limit_s: float) -> Iterator[bytes]:
    assert process.stdout is not None
    deadline = time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        # Cut rather than hang: the client sees a torn pack and says so.
        while time.monotonic() < deadline and selector.select(timeout=SILENCE_S):
            piece = os.read(process.stdout.fileno(), PIPE_BYTES)
            if not piece:
                return
            yield piece


__all__ = [
    "MAX_PUSH_BYTES",
    "GzipBody",
    "Push",
    "Quarantine",
    "RefCommand",
    "RefResult",
    "advertise",
    "list_visible_refs",
    "read_commands",
    "receive",
    "sweep_leftovers",
    "upload_pack",
]
