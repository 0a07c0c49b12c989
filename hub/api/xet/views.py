"""The Xet store (content-addressed chunks) as hf_xet speaks it. Nothing a client says is believed: the byte store
recomputes it. Nothing is told or given that the person could not also download."""

import hashlib
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.api.addresses import base_url
from hub.api.auth import reads_own_tokens
from hub.api.hf.endpoints import answer, endpoint, open_body
from hub.api.hf.ranges import read_range
from hub.api.xet.tokens import Access, read_access, sign_pieces
from hub.common.errors import Forbidden, HubError, InvalidInput, NotFound, RangeNotSatisfiable, TooLarge
from hub.common.paging import read_number
from hub.common.waiting import giving_way
from hub.community.contributions import reader_for
from hub.repos.blobs import list_told_chunks, record_upload, store
from hub.repos.loose import count_xorbs, hold_xorbs, is_held
from hub.repos.models import StoredBlob
from hub.repos.quotas import SQL_BATCH, check_room, list_uncounted
from hub.storage.errors import InvalidRange, NotOwned, StorageError
from hub.storage.errors import TooLarge as BeyondBounds
from hub.storage.xet.hashes import to_hex
from hub.storage.xet.reconstruction import Parts, Plan, UrlFor, as_version_1, as_version_2
from hub.storage.xet.shards import FileDescription

MAX_XORB_BODY = 70 * 1024 * 1024  # 64 MiB of chunks with their headers
MAX_SHARD_BODY = 64 * 1024 * 1024
MAX_BATCH = 100  # files of one question
PIECE = 256 * 1024  # as many of them are in memory as xorbs are on their way


def read_pieces(request: HttpRequest, limit: int) -> Iterator[bytes]:
    body = open_body(request, limit=limit)
    taken = 0
    while piece := body.read(PIECE):
        taken += len(piece)
        if taken > limit:
            raise TooLarge(f"The body is larger than {limit:,} bytes.")
        yield piece


def name_upload(request: HttpRequest) -> str:
    """A client asks for a token for each upload, so what comes with the same token belongs together."""
    return hashlib.sha256(request.headers["Authorization"].encode()).hexdigest()


def refuse(problem: StorageError) -> HubError:
    if isinstance(problem, NotOwned):
        return Forbidden(str(problem))
    if isinstance(problem, BeyondBounds):
        return TooLarge(str(problem))
    return InvalidInput(str(problem))


def put_xorb(request: HttpRequest, hash: str) -> HttpResponse:
    """Keep a xorb. Whether it was here already is nobody's business, so the answer never tells."""
    access = read_access(request, write=True)
    length = read_number(request.headers.get("Content-Length", "")) or 0
    is_counted = is_held(access.repo, access.user, f"xorb:{hash}")
    check_room(repo=access.repo, by=access.user, adding=0 if is_counted else min(length, MAX_XORB_BODY))
    try:
        store().add_xorb(hash, read_pieces(request, MAX_XORB_BODY), upload=name_upload(request))
    except StorageError as problem:
        raise refuse(problem) from None
    hold_xorbs(access.repo, access.user, {hash: store().xorb_size(hash) or 0})  # new or not: it would tell
    return answer({"was_inserted": True})


def head_xorb(request: HttpRequest, hash: str) -> HttpResponse:
    access = read_access(request)
    size = store().xorb_size(hash)
    if size is None or not list_told_chunks(repo=access.repo, user=access.user, xorb=hash):
        raise NotFound("There is no such xorb.")
    return HttpResponse(headers={"Content-Length": str(size)})


def put_shard(request: HttpRequest) -> HttpResponse:
    """Register files; from here on this person may commit them to this repository."""
    access = read_access(request, write=True)
    data = b"".join(read_pieces(request, MAX_SHARD_BODY))
    try:
        # Nobody may use a xorb by name: the shard's verification hashes prove that the writer holds the chunks.
        files = store().add_shard(
            data,
            may_use=lambda xorb: False,
            max_total_bytes=settings.MAX_FILE_BYTES,
            check=lambda files: check_claims(access, files),
            upload=name_upload(request),
            waiting=giving_way,
        )
    except StorageError as problem:
        raise refuse(problem) from None
    for stored in files:
        record_upload(repo=access.repo, by=access.user, stored=stored)
    return answer({"result": 1})


def check_claims(access: Access, files: list[FileDescription]) -> None:
    """Whether there is room for the files of a shard, before they are read. Their xorbs have been counting until now."""
    sizes = {to_hex(file.file_hash): file.size for file in files}
    names = list(sizes)
    known: dict[str, str] = {}
    for start in range(0, len(names), SQL_BATCH):
        rows = StoredBlob.objects.filter(xet_hash__in=names[start : start + SQL_BATCH])
        known.update(rows.values_list("sha256", "xet_hash"))
    new = list_uncounted(list(known), repo=access.repo, by=access.user)
    counted = {xet_hash for sha256, xet_hash in known.items() if sha256 not in new}
    adding = sum(size for xet_hash, size in sizes.items() if xet_hash not in counted)
    xorbs = (to_hex(xorb) for file in files for xorb in file.xorbs())
    check_room(repo=access.repo, by=access.user, adding=max(0, adding - count_xorbs(access.repo, access.user, xorbs)))


def find_sha256(access: Access, xet_hash: str) -> str:
    """The file behind a Xet hash, if this person may have its bytes in this repository."""
    rows = StoredBlob.objects.filter(xet_hash=xet_hash).values_list("sha256", flat=True)
    reader = reader_for(access.repo, access.user)
    for sha256 in rows:
        if reader.may_have(sha256):
            return str(sha256)
    raise NotFound("There is no such file in this repository.")


def make_plan(request: HttpRequest, access: Access, hash: str, wanted: str | None = None) -> tuple[Plan, UrlFor]:
    """The plan for what `wanted`, a Range header, names, and how its addresses are made."""
    sha256 = find_sha256(access, hash)
    size = StoredBlob.objects.values_list("size", flat=True).get(pk=sha256)
    start, end = read_range(wanted, size) or (0, size)

    def url_for(xorb: str, parts: Parts) -> str:
        return f"{base_url(request)}/xet/data/{xorb}?s={sign_pieces(access, sha256, xorb, parts)}"

    try:
        return store().plan(hash, start, end), url_for
    except InvalidRange as problem:
        raise RangeNotSatisfiable(str(problem)) from None
    except StorageError as problem:
        raise NotFound(str(problem)) from None


def show_reconstruction(request: HttpRequest, hash: str) -> HttpResponse:
    """The download plan: terms, and an address for exactly the bytes of each that are needed."""
    return answer(as_version_1(*make_plan(request, read_access(request), hash, request.headers.get("Range"))))


def show_reconstruction_2(request: HttpRequest, hash: str) -> HttpResponse:
    """The same with one address for each xorb, whose stretches come in one answer."""
    return answer(as_version_2(*make_plan(request, read_access(request), hash, request.headers.get("Range"))))


def show_reconstructions(request: HttpRequest) -> HttpResponse:
    """The plans of several whole files at once; files that are not there for this person are left out."""
    access = read_access(request)
    wanted = list(dict.fromkeys(request.GET.getlist("file_id")))
    if len(wanted) > MAX_BATCH:
        raise InvalidInput(f"Ask for at most {MAX_BATCH} files at once; these are {len(wanted)}.")
    files: dict[str, Any] = {}
    fetch_info: dict[str, list[Any]] = {}
    for hash in wanted:
        try:
            plan = as_version_1(*make_plan(request, access, hash))
        except NotFound:
            continue
        files[hash] = plan["terms"]
        for xorb, pieces in plan["fetch_info"].items():
            fetch_info.setdefault(xorb, []).extend(pieces)
    return answer({"files": files, "fetch_info": fetch_info})


def show_size(request: HttpRequest, hash: str) -> HttpResponse:
    sha256 = find_sha256(read_access(request), hash)
    size = StoredBlob.objects.values_list("size", flat=True).get(pk=sha256)
    return HttpResponse(headers={"Content-Length": str(size)})


def find_chunk(request: HttpRequest, hash: str) -> HttpResponse:
    """Global deduplication: only about own and public content, and keyed, so that nothing can be probed."""
    access = read_access(request)
    known: dict[str, list[tuple[int, int]]] = {}

    def list_shown(xorb: str) -> list[tuple[int, int]]:
        if xorb not in known:
            known[xorb] = list_told_chunks(repo=access.repo, user=access.user, xorb=xorb)
        return known[xorb]

    shard = store().dedup_shard(hash, may_tell=lambda xorb: bool(list_shown(xorb)), shown=list_shown)
    if shard is None:
        raise NotFound("No chunk with this hash is known to you.")
    return HttpResponse(shard, content_type="application/octet-stream")


def ignore(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204)


def refuse_unknown(request: HttpRequest) -> HttpResponse:
    """404, not 501: hf_xet takes only this as "not offered" and falls back to what is."""
    raise NotFound("This store does not speak that part of the protocol.")


xorb = reads_own_tokens(endpoint(POST=put_xorb, HEAD=head_xorb))
shards = reads_own_tokens(endpoint(POST=put_shard))
reconstruction = reads_own_tokens(endpoint(GET=show_reconstruction))
reconstruction_2 = reads_own_tokens(endpoint(GET=show_reconstruction_2))
reconstructions = reads_own_tokens(endpoint(GET=show_reconstructions))
file_size = reads_own_tokens(endpoint(HEAD=show_size, GET=show_size))
chunk = reads_own_tokens(endpoint(GET=find_chunk))
telemetry = reads_own_tokens(endpoint(POST=ignore, GET=ignore))
unknown = reads_own_tokens(endpoint(**dict.fromkeys(("GET", "POST", "PUT", "HEAD", "DELETE"), refuse_unknown)))
