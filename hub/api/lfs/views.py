"""git-lfs: the batch tells where to put or get each object, the addresses carry their own right. Objects larger than a part
go up in parts (parts.py) where the client can do that, all others in one request."""

import re
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from hub.accounts.permissions import can
from hub.api.addresses import base_url
from hub.api.auth import reads_own_tokens
from hub.api.git.views import CHALLENGE, open_repo, require_reader
from hub.api.hf.endpoints import View, answer, endpoint, open_body, read_json
from hub.api.hf.ranges import read_range
from hub.api.lfs.parts import choose_transfer, is_under_way, offer_parts
from hub.api.lfs.refusals import describe_missing_object
from hub.api.lfs.tickets import LIFETIME_S, LONG_S, make_ticket, read_ticket
from hub.common.errors import Forbidden, HubError, InvalidInput, NotFound, NotSignedIn, NotSupported, TooLarge
from hub.community.contributions import reader_for
from hub.repos.blobs import may_commit_blob, store, take_in
from hub.repos.models import Repo, UploadedBlob
from hub.repos.quotas import check_room, room_left
from hub.storage.errors import DigestMismatch, StorageError

MAX_OBJECTS = 1000
PIECE = 1024 * 1024
OID = re.compile(r"[0-9a-f]{64}")
MEDIA = "application/vnd.git-lfs+json"

Json = dict[str, Any]


def answer_lfs(data: Json) -> HttpResponse:
    response = answer(data)
    response["Content-Type"] = MEDIA
    return response


def answer_batch(request: HttpRequest, **address: str) -> HttpResponse:
    repo = open_repo(request, **address)
    wanted = read_json(request)
    operation, objects = wanted.get("operation"), wanted.get("objects")
    if operation not in ("upload", "download") or not isinstance(objects, list):
        raise InvalidInput("An LFS batch names an operation (upload or download) and a list of objects.")
    if len(objects) > MAX_OBJECTS:
        raise TooLarge(f"A batch holds at most {MAX_OBJECTS} objects; send more batches.")
    (require_uploader if operation == "upload" else require_reader)(request, repo)
    pairs = [read_object(item) for item in objects]
    transfer = choose_transfer(wanted, [size for _, size in pairs])
    if operation == "upload":
        left = room_left(repo=repo, by=request.user)
        rows = []
        for oid, size in pairs:
            row = offer_upload(request, repo, oid, size, left, transfer)
            left = left - size if left is not None and "actions" in row else left
            rows.append(row)
    else:
        rows = [offer_download(request, repo, oid, size) for oid, size in pairs]
    return answer_lfs({"transfer": transfer, "objects": rows, "hash_algo": "sha256"})


def require_uploader(request: HttpRequest, repo: Repo) -> None:
    if not request.user.is_authenticated:
        raise NotSignedIn("Uploading needs a token as password.", headers=CHALLENGE)
    require_reader(request, repo)
    if not can(request.user, "propose", repo):
        raise Forbidden("This token may only read; make one with the role 'write' in your settings.")


def read_object(item: Any) -> tuple[str, int]:
    if not isinstance(item, dict) or not OID.fullmatch(str(item.get("oid"))) or type(item.get("size")) is not int:
        raise InvalidInput("An LFS object has an oid of 64 hexadecimal digits and a size in bytes.")
    if not 0 <= item["size"] < 2**63:
        raise InvalidInput("The size of an LFS object is a number of bytes, from 0 on.")
    return item["oid"], item["size"]


def offer_upload(request: HttpRequest, repo: Repo, oid: str, size: int, left: int | None, transfer: str) -> Json:
    """No actions when this person has shown the bytes already; otherwise they come again, which costs no space."""
    if size > settings.MAX_FILE_BYTES:
        message = f"This file has {size:,} bytes; this hub takes files of at most {settings.MAX_FILE_BYTES:,}."
        return {"oid": oid, "size": size, "error": {"code": 422, "message": message}}
    user: Any = request.user
    if may_commit_blob(repo=repo, by=user, sha256=oid) and store().renew(oid) is not None:
        return {"oid": oid, "size": size}
    if left is not None and size > left and not is_under_way(repo, user, oid, size):
        message = f"This file has {size:,} bytes and there is room for {left:,}; ask the operator of this hub for more."
        return {"oid": oid, "size": size, "error": {"code": 507, "message": message}}
    ticket = make_ticket(repo, user, oid, size, "upload")
    base = base_url(request)
    upload = {"href": f"{base}/lfs/upload/{ticket}", "expires_in": LIFETIME_S}
    actions = {
        "upload": offer_parts(request, repo, oid, size) if transfer == "multipart" else upload,
        "verify": {"href": f"{base}/lfs/verify/{ticket}", "expires_in": LONG_S},
    }
    return {"oid": oid, "size": size, "authenticated": True, "actions": actions}


def offer_download(request: HttpRequest, repo: Repo, oid: str, size: int) -> Json:
    reader = reader_for(repo, request.user)
    if not reader.may_have(oid) or store().find(oid) is None:
        return {"oid": oid, "size": size, "error": {"code": 404, "message": describe_missing_object(reader, oid)}}
    href = f"{base_url(request)}/lfs/download/{make_ticket(repo, request.user, oid, size, 'download')}"
    return {
        "oid": oid,
        "size": size,
        "authenticated": True,
        "actions": {"download": {"href": href, "expires_in": LIFETIME_S}},
    }


def take_upload(request: HttpRequest, ticket: str) -> HttpResponse:
    repo, user, oid, size = read_ticket(ticket, "upload")
    if not may_commit_blob(repo=repo, by=user, sha256=oid):
        check_room(repo=repo, by=user, adding=size)
    try:
        take_in(repo=repo, by=user, pieces=read_pieces(request, size), expected_sha256=oid, expected_size=size)
    except DigestMismatch as problem:
        raise InvalidInput(str(problem)) from None
    except StorageError as problem:
        raise TooLarge(str(problem)) from None
    return answer({}, headers={"ETag": f'"{oid}"'})


def read_pieces(request: HttpRequest, size: int) -> Iterator[bytes]:
    body = open_body(request, limit=size)
    while piece := body.read(PIECE):
        yield piece


def check_upload(request: HttpRequest, ticket: str) -> HttpResponse:
    repo, user, oid, size = read_ticket(ticket, "upload", lifetime_s=LONG_S)
    stored = store().find(oid)
    has_it = UploadedBlob.objects.filter(repo=repo, sha256=oid, by=user).exists()
    if stored is None or stored.size != size or not has_it:
        raise NotFound(f"The object {oid[:12]} has not arrived; push again.")
    return answer_lfs({"oid": oid, "size": size})


def send_download(request: HttpRequest, ticket: str) -> HttpResponse:
    repo, user, oid, _ = read_ticket(ticket, "download")
    stored = store().find(oid)
    # Asked again: it may have been withdrawn since the address was made.
    if stored is None or not reader_for(repo, user).may_have(oid):
        raise NotFound(f"The object {oid[:12]} is not here any more, or not for you.")
    part = read_range(request.headers.get("Range"), stored.size)
    start, end = part or (0, stored.size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes", "ETag": f'"{oid}"'}
    if part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    if request.method == "HEAD":
        return HttpResponse(status=206 if part else 200, headers=headers)
    headers["Content-Type"] = "application/octet-stream"
    return StreamingHttpResponse(store().read(oid, start, end), status=206 if part else 200, headers=headers)


def refuse_locks(request: HttpRequest, **address: str) -> HttpResponse:
    """501 is what git-lfs takes in silence before a push; an empty list makes it advise to turn locking on, and that
    advice prints the remote's address with the token in it.
    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/locking.md"""
    open_repo(request, **{key: value for key, value in address.items() if key != "lock"})
    raise NotSupported("This hub keeps no locks on files; open a pull request, and a merge shows what clashes.")


def speak_to_lfs(view: View) -> View:
    """git-lfs shows a refusal to the person only as `message`."""

    def call(request: HttpRequest, **address: str) -> HttpResponse:
        try:
            return view(request, **address)
        except HubError as problem:
            problem.extra.setdefault("message", problem.message)
            raise

    return call


batch = endpoint(POST=speak_to_lfs(answer_batch))
locks = endpoint(GET=speak_to_lfs(refuse_locks), POST=speak_to_lfs(refuse_locks))
upload = reads_own_tokens(endpoint(PUT=take_upload))
verify = reads_own_tokens(endpoint(POST=check_upload))
download = reads_own_tokens(endpoint(GET=send_download))
