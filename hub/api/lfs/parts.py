"""Large objects in numbered parts: what the stock client does with a large file where Xet is switched off, and git-lfs
with `hf lfs-multipart-upload`. Each part has an address of its own and may be sent again alone; the upload is completed
at the address that lists them, which takes the bytes into the store and checks their size and SHA-256.

Parts wait on this machine's disk. Whoever starts again, on any day before the collection of garbage takes them away, may
ask the address of the upload which ones have arrived."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.api.addresses import base_url
from hub.api.auth import reads_own_tokens
from hub.api.hf.endpoints import answer, endpoint, open_body, read_json
from hub.api.lfs.tickets import LONG_S, make_ticket, read_ticket
from hub.common.errors import InvalidInput
from hub.repos.blobs import store, take_in
from hub.repos.loose import hold_for, is_held, let_go
from hub.repos.models import Repo, UploadedBlob
from hub.repos.places import uploads
from hub.repos.quotas import check_room
from hub.storage.errors import DigestMismatch, StorageError
from hub.storage.uploads import MAX_PARTS

MAX_LISTED = 20_000  # addresses of parts in one answer, about 6 MB
PIECE = 1024 * 1024

Json = dict[str, Any]


def part_bytes_of(size: int) -> int:
    """Bytes of each part but the last."""
    return max(settings.LFS_PART_BYTES, math.ceil(size / MAX_PARTS))


def count_parts(size: int) -> int:
    return math.ceil(size / part_bytes_of(size))


def choose_transfer(wanted: Json, sizes: list[int]) -> str:
    """ "multipart" for a batch with a file that is larger than a part, if the client can do it: all its files then, as an
    agent of git-lfs gets all of them. "basic" where listing the parts would fill the answer."""
    transfers = wanted.get("transfers")
    can_do = wanted.get("operation") == "upload" and isinstance(transfers, list) and "multipart" in transfers
    if not can_do or not any(size > settings.LFS_PART_BYTES for size in sizes):
        return "basic"
    return "multipart" if sum(map(count_parts, sizes)) <= MAX_LISTED else "basic"


def offer_parts(request: HttpRequest, repo: Repo, oid: str, size: int) -> Json:
    """Where the parts go, in the order of their numbers also where programs sort by name."""
    href = f"{base_url(request)}/lfs/parts/{make_ticket(repo, request.user, oid, size, 'parts')}"
    addresses = {f"{number:05}": f"{href}/{number}" for number in range(1, count_parts(size) + 1)}
    return {"href": href, "header": {"chunk_size": str(part_bytes_of(size)), **addresses}, "expires_in": LONG_S}


def open_upload(ticket: str) -> tuple[Repo, Any, str, int, str]:
    """(repository, person, oid, size, id of the upload). The id is the same whenever this person sends this object."""
    repo, user, oid, size = read_ticket(ticket, "parts", lifetime_s=LONG_S)
    return repo, user, oid, size, name_upload(repo, user, oid, size)


def name_upload(repo: Repo, user: Any, oid: str, size: int) -> str:
    about = f"{repo.key}:{user.pk}:{oid}:{size}:{part_bytes_of(size)}"
    return f"lfs-{hashlib.sha256(about.encode()).hexdigest()[:48]}"


def is_under_way(repo: Repo, user: Any, oid: str, size: int) -> bool:
    """Whether parts have come already, so that the upload counts whole."""
    return is_held(repo, user, name_loose(name_upload(repo, user, oid, size)))


def take_part(request: HttpRequest, ticket: str, number: str) -> HttpResponse:
    repo, user, oid, size, upload_id = open_upload(ticket)
    if not 1 <= int(number) <= count_parts(size):
        raise InvalidInput(f"This upload has {count_parts(size)} parts, so there is no part {number}.")
    if not has_arrived(repo, user, oid, size):
        keep_room(repo, user, upload_id, size)
    expected = min(part_bytes_of(size), size - (int(number) - 1) * part_bytes_of(size))
    try:
        etag = uploads().write_part(upload_id, int(number), read_exactly(request, expected, number))
    except (FileNotFoundError, StorageError) as problem:  # it was completed at this moment, or there is no such part
        raise InvalidInput(f"Part {number} could not be kept ({problem}); start the upload again.") from None
    return answer({}, headers={"ETag": f'"{etag}"'})


def keep_room(repo: Repo, user: Any, upload_id: str, size: int) -> None:
    """Raises QuotaExceeded. An upload whose first part has come counts whole from then on."""
    name = name_loose(upload_id)
    check_room(repo=repo, by=user, adding=0 if is_held(repo, user, name) else size)
    hold_for(repo, user, {name: size})


def name_loose(upload_id: str) -> str:
    """How its bytes are called while they wait (hub.repos.loose)."""
    return f"parts:{upload_id}"


def read_exactly(request: HttpRequest, count: int, number: str) -> Iterator[bytes]:
    """`count` bytes of the body; one more or less and the part does not come to be."""
    body, left = open_body(request, limit=count), count
    while piece := body.read(min(PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise InvalidInput(f"Part {number} must have {count:,} bytes; send it again.")


def list_parts(request: HttpRequest, ticket: str) -> HttpResponse:
    _, _, _, size, upload_id = open_upload(ticket)
    rows = uploads().parts(upload_id).items()
    parts = [{"partNumber": number, "etag": f'"{etag}"', "size": count} for number, (etag, count) in rows]
    return answer({"chunk_size": part_bytes_of(size), "parts": parts})


def complete_upload(request: HttpRequest, ticket: str) -> HttpResponse:
    repo, user, oid, size, upload_id = open_upload(ticket)
    etags = read_etags(read_json(request), oid, size)
    if not has_arrived(repo, user, oid, size):
        assemble(repo, user, oid, size, upload_id, etags)
    uploads().discard(upload_id)
    return answer({"oid": oid, "size": size})


def read_etags(data: Json, oid: str, size: int) -> list[str]:
    """Of the parts 1, 2, ... in this order."""
    parts = data.get("parts")
    if data.get("oid") != oid or not isinstance(parts, list):
        raise InvalidInput(f'Send {{"oid": "{oid[:12]}…", "parts": [{{"partNumber": 1, "etag": "…"}}, …]}}.')
    named = [part for part in parts if isinstance(part, dict) and type(part.get("partNumber")) is int]
    told = {part["partNumber"]: part.get("etag") for part in named}
    etags = [told.get(number) for number in range(1, count_parts(size) + 1)]
    if len(parts) != len(etags) or not all(isinstance(etag, str) for etag in etags):
        raise InvalidInput(f"This upload has {len(etags)} parts; name each with its partNumber and etag.")
    return [str(etag) for etag in etags]


def assemble(repo: Repo, user: Any, oid: str, size: int, upload_id: str, etags: list[str]) -> None:
    """Into the byte store, and remember who brought it. Parts that make another file are thrown away."""
    name = name_loose(upload_id)
    try:
        pieces = uploads().assemble(upload_id, etags)
        let_go(repo, user, name)  # it must not count twice
        take_in(repo=repo, by=user, pieces=pieces, expected_sha256=oid, expected_size=size)
    except DigestMismatch as problem:
        uploads().discard(upload_id)
        raise InvalidInput(f"{problem} Send the parts again.") from None
    except (FileNotFoundError, StorageError) as problem:
        if has_arrived(repo, user, oid, size):  # the same request, sent twice, was faster
            return
        hold_for(repo, user, {name: size})
        raise InvalidInput(str(problem)) from None
    except BaseException:
        hold_for(repo, user, {name: size})
        raise


def has_arrived(repo: Repo, user: Any, oid: str, size: int) -> bool:
    stored = store().find(oid)
    is_known = UploadedBlob.objects.filter(repo=repo, sha256=oid, by=user).exists()
    return stored is not None and stored.size == size and is_known


whole = reads_own_tokens(endpoint(GET=list_parts, POST=complete_upload))
part = reads_own_tokens(endpoint(PUT=take_part))
