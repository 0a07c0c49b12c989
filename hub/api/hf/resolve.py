"""Downloading a file: HEAD tells commit, identity and size, GET streams the bytes or a range of them."""

import mimetypes
import posixpath
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, StreamingHttpResponse

from hub.api.addresses import api_path, base_url
from hub.api.hf.downloads import count_download
from hub.api.hf.endpoints import endpoint, open_reader, with_repo
from hub.api.hf.ranges import read_range
from hub.common.errors import EntryNotFound, HubError
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.storage.git import TreeEntry, format_pointer

# What a browser may show in place; everything else is saved. Nothing of it may run: see SAFE_HEADERS.
SHOWN_TYPES = ("image/", "audio/", "video/", "text/plain", "application/json")
TEXT_ENDINGS = (".md", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".py", ".csv", ".toml", ".cfg", ".lock", ".xml")
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Somebody else's file on our own address: no script, no form, no frame of ours.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Access-Control-Expose-Headers": "X-Repo-Commit, X-Linked-Etag, X-Linked-Size, ETag, X-Xet-Hash, X-Error-Code",
}


@with_repo()
def send_file(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    reader = open_reader(request, repo)
    commit, entry = find_file(reader, rest)
    return_commit = {"X-Repo-Commit": commit}
    try:
        reader.check_bytes(entry)
    except HubError as problem:
        problem.headers |= return_commit
        raise
    identity = entry.lfs.sha256 if entry.lfs else entry.oid
    headers = {
        **SAFE_HEADERS,
        **return_commit,
        **describe_kind(entry.path),
        "ETag": f'"{identity}"',
        "X-Linked-Etag": f'"{identity}"',
        "X-Linked-Size": str(entry.size),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache" if repo.is_private or repo.gated else "no-cache",
        **describe_xet(request, reader, commit, entry),
    }
    if identity in known_identities(request.headers.get("If-None-Match", "")):
        return HttpResponseNotModified(headers={"ETag": headers["ETag"], **return_commit})
    return send_bytes(request, reader, commit, entry, headers, identity)


def find_file(reader: RepoReader, rest: str) -> tuple[str, TreeEntry]:
    _, commit, path = reader.resolve_longest(rest)
    entry = reader.entry(commit, path) if path else None
    if entry is None or entry.type != "file":
        raise EntryNotFound(
            f"{path or rest!r} is not a file in {reader.repo.full_name} at {commit[:12]}.",
            headers={"X-Repo-Commit": commit},
        )
    return commit, entry


def send_bytes(
    request: HttpRequest, reader: RepoReader, commit: str, entry: TreeEntry, headers: dict[str, str], identity: str
) -> HttpResponse:
    condition = request.headers.get("If-Range")
    wanted = request.headers.get("Range") if condition is None or identity in known_identities(condition) else None
    part = read_range(wanted, entry.size)
    start, end = part or (0, entry.size)
    status = 206 if part else 200
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{entry.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    if start == 0:
        count_download(request, reader.repo)
    if end == start:
        return HttpResponse(b"", status=status, headers=headers)
    pieces = reader.read_entry(commit, entry, start, end)
    return StreamingHttpResponse(pieces, status=status, headers=headers)


def known_identities(header: str) -> set[str]:
    """The identities in If-None-Match or If-Range, without quotes and weakness."""
    return {part.strip().removeprefix("W/").strip('"') for part in header.split(",")}


def describe_kind(path: str) -> dict[str, str]:
    """Content type and whether a browser saves or shows the file."""
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    if path.lower().endswith(TEXT_ENDINGS):
        kind = "text/plain; charset=utf-8"
    elif not kind.startswith(SHOWN_TYPES):
        kind = "application/octet-stream"
    how = "inline" if kind.startswith(SHOWN_TYPES) else "attachment"
    name = posixpath.basename(path)
    return {"Content-Type": kind, "Content-Disposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}"}


def describe_xet(request: HttpRequest, reader: RepoReader, commit: str, entry: TreeEntry) -> dict[str, str]:
    """Where the client gets the right to fetch the file by chunks."""
    xet_hash = reader.xet_hash(entry.lfs.sha256) if entry.lfs else None
    if xet_hash is None:
        return {}
    address = f"{base_url(request)}{quote(api_path(reader.repo))}/xet-read-token/{commit}"
    return {"X-Xet-Hash": xet_hash, "Link": f'<{address}>; rel="xet-auth"'}


@with_repo()
def send_raw(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    """What git itself holds: the pointer of a large file."""
    reader = open_reader(request, repo)
    commit, entry = find_file(reader, rest)
    reader.check_gate(entry)
    if entry.lfs:
        data = format_pointer(entry.lfs.sha256, entry.lfs.size)
    else:
        data = b"".join(reader.read_entry(commit, entry))
    headers = {**SAFE_HEADERS, "X-Repo-Commit": commit, "ETag": f'"{entry.oid}"'}
    return HttpResponse(data, content_type="text/plain; charset=utf-8", headers=headers)


resolve = endpoint(GET=send_file)
raw = endpoint(GET=send_raw)
