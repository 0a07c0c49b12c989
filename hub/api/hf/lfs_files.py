"""The large files of a repository: listing them, copying them to another repository without sending the bytes, and
deleting them for good."""

import re
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse

from hub.accounts.models import User
from hub.api.addresses import next_page
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, read_json, signed_in, text_of, with_repo
from hub.api.hf.times import format_time
from hub.common.errors import InvalidInput, TooLarge
from hub.common.paging import cut_page, read_limit, read_number
from hub.repos.blobs import is_public, may_leave, record_upload, store
from hub.repos.find import find_repo
from hub.repos.models import Content, Repo
from hub.repos.purging import delete_files, purge_now
from hub.repos.quotas import check_room, list_uncounted
from hub.repos.reader import RepoReader
from hub.storage.blobs import StoredFile

MAX_FILES = 1000  # the client sends batches of 100
PAGE = 500
BATCH = 50  # files that one transaction claims
HEX = re.compile(r"[0-9a-f]{64}")


@signed_in
@with_repo(action="write")
def list_files(request: HttpRequest, repo: Repo) -> HttpResponse:
    """Every large file that a commit brought, on whichever ref, newest first. The name is the one it came under."""
    limit = read_limit(request, default=PAGE, most=PAGE)
    rows = Content.objects.filter(repo=repo, digest__startswith="sha256:").exclude(digest__contains="#")
    if "cursor" in request.GET:
        before = read_number(request.GET["cursor"])
        if before is None:
            raise InvalidInput("The cursor is not one of this hub; start again without it.")
        rows = rows.filter(pk__lt=before)
    brought = rows.order_by("-pk").prefetch_related("brought_by__revision")
    page, has_more = cut_page(brought[: limit + 1], limit=limit)
    headers = {"Link": next_page(request, cursor=page[-1].pk)} if has_more else None
    return answer([describe_file(content) for content in page], headers=headers)


def describe_file(content: Content) -> dict[str, Any]:
    item = {
        "fileOid": content.oid,
        "oid": content.oid,
        "filename": content.path,
        "size": content.size,
        "pushedAt": format_time(content.created_at),
    }
    refs = [row.revision.ref for row in content.brought_by.all()]
    return item | {"ref": refs[0]} if refs else item


@signed_in
@with_repo(action="read_files")
def copy_files(request: HttpRequest, repo: Repo) -> HttpResponse:
    """What this person could download from here they may commit there, as if they had uploaded it: it counts for the
    quota and is screened there anew. Raises QuotaExceeded when not all fits; nothing is copied then."""
    body = read_json(request)
    wanted = read_wanted(body)
    by: Any = request.user
    target = find_target(body, by)
    reader = open_reader(request, repo)
    found, failed = [], []
    for sha256, xet_hash in wanted.items():
        stored = find_copyable(reader, sha256)
        if stored is None or stored.xet_hash != xet_hash:
            failed.append({"sha256": sha256, "error": f"It is not in {repo.full_name}, or not cleared for you."})
        else:
            found.append(stored)
    check_room(repo=target, by=by, adding=count_new(found, repo=target, by=by))
    for start in range(0, len(found), BATCH):
        with transaction.atomic():  # short ones: others write between them
            for stored in found[start : start + BATCH]:
                record_upload(repo=target, by=by, stored=stored)
    return answer({"failed": failed})


def count_new(files: list[StoredFile], *, repo: Repo, by: User) -> int:
    """Bytes of those that do not count already for who pays for uploads of this person there."""
    new = list_uncounted([stored.sha256 for stored in files], repo=repo, by=by)
    return sum(stored.size for stored in files if stored.sha256 in new)


def find_copyable(reader: RepoReader, sha256: str) -> StoredFile | None:
    """None for what this reader may not have, or what waits for its release."""
    repo = reader.repo
    if repo.is_disabled or not reader.may_have(sha256) or not may_leave(repo, sha256):
        return None
    if repo.shows == Repo.Shows.RELEASES:  # what people brought waits for the next release, too
        content = Content.objects.select_related("repo").filter(repo=repo, digest=f"sha256:{sha256}").first()
        if content is None or not is_public(content):
            return None
    return store().renew(sha256)


def find_target(body: dict[str, Any], user: Any) -> Repo:
    """The repository that the files go to; proposing there is enough, as with any upload."""
    target = body.get("target")
    if not isinstance(target, dict):
        raise InvalidInput('Say where the files go: {"target": {"type": "dataset", "name": "alice/tides"}}.')
    return find_repo(text_of(target, "type"), text_of(target, "name"), user, action="propose")


def read_wanted(body: dict[str, Any]) -> dict[str, str]:
    """sha256 -> Xet hash."""
    files = body.get("files")
    if not isinstance(files, list) or not all(isinstance(item, dict) for item in files):
        raise InvalidInput('Name the files: {"files": [{"sha256": "...", "xetHash": "...", "filename": "a.bin"}]}.')
    if len(files) > MAX_FILES:
        raise TooLarge(f"{len(files):,} files were named; copy at most {MAX_FILES:,} at once.")
    wanted = {text_of(item, "sha256"): text_of(item, "xetHash") for item in files}
    for value in (*wanted, *wanted.values()):
        if not HEX.fullmatch(value):
            raise InvalidInput("A sha256 and a xetHash have 64 hexadecimal digits each.")
    return wanted


@signed_in
@with_repo(action="admin")
def delete_for_good(request: HttpRequest, repo: Repo) -> HttpResponse:
    """Take large files out of every commit, or with `rewriteHistory` false only their bytes; they may come again.

    All or none: a file that is not here refuses the batch, and so does a release that holds one."""
    deletions = read_json(request).get("deletions")
    shas = deletions.get("sha") if isinstance(deletions, dict) else None
    if not isinstance(shas, list) or not shas or not all(HEX.fullmatch(str(sha256)) for sha256 in shas):
        raise InvalidInput('Name the files: {"deletions": {"sha": ["64 hexadecimal digits"], "rewriteHistory": true}}.')
    if len(shas) > MAX_FILES:
        raise TooLarge(f"{len(shas):,} files were named; delete at most {MAX_FILES:,} at once.")
    if flag_of(deletions.get("rewriteHistory", True)):
        purge_now(repo=repo, by=request.user, digests=[f"sha256:{sha256}" for sha256 in shas], is_kept_out=False)
    else:
        delete_files(repo=repo, by=request.user, shas=shas)
    return answer({"success": True})


listing = endpoint(GET=list_files)
duplicate = endpoint(POST=copy_files)
deletion = endpoint(POST=delete_for_good)
