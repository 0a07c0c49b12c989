"""Before an upload: which files go inline and which to the byte store, which are ignored, which are there already."""

import base64
import binascii
from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.permissions import require_commit
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, read_json, with_repo
from hub.api.hf.ignore_rules import parse_ignore_rules
from hub.common.errors import EntryNotFound, HubError, InvalidInput, RevisionNotFound
from hub.repos.largeness import is_large
from hub.repos.models import Repo
from hub.repos.quotas import check_room
from hub.repos.reader import RepoReader
from hub.storage.git import check_path

MAX_FILES = 10_000  # the stock client sends 256 at once
MAX_SAMPLE_BYTES = 4096


@with_repo()
def decide(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    is_proposal = flag_of(request.GET.get("create_pr")) or rest.startswith("refs/pr/")
    require_commit(request.user, repo, is_proposal=is_proposal)
    body = read_json(request)
    files = body.get("files")
    if not isinstance(files, list) or len(files) > MAX_FILES:
        raise InvalidInput(f"'files' must be a list of at most {MAX_FILES:,} entries with path, size and sample.")
    reader = open_reader(request, repo)
    commit = find_base(reader, rest)
    rules = parse_ignore_rules(read_ignore_file(reader, commit, body.get("gitIgnore")))
    headers = {"X-Repo-Commit": commit} if commit else None
    decisions = [decide_one(reader, commit, rules, file) for file in files]
    adding = count_new_bytes(reader, commit, files, decisions)
    if adding:  # text takes no room, so it comes in also where more is held than may be
        check_room(repo=repo, by=request.user, adding=adding)
    return answer({"files": decisions}, headers=headers)


def count_new_bytes(reader: RepoReader, commit: str | None, files: list[Any], decisions: list[dict[str, Any]]) -> int:
    """Bytes that are about to be sent, as far as sizes tell: what has the size of the file in its place may be the same."""
    total = 0
    for file, decision in zip(files, decisions, strict=True):
        if decision["uploadMode"] == "lfs" and not decision["shouldIgnore"]:
            is_same = "oid" in decision and reader.entry(str(commit), file["path"]).size == file["size"]
            total += 0 if is_same else file["size"]
    return total


def find_base(reader: RepoReader, rest: str) -> str | None:
    """The commit that the upload starts from; None in a repository without commits that this person sees."""
    try:
        return reader.resolve(rest)
    except RevisionNotFound:
        if rest.removeprefix("refs/heads/") == reader.repo.default_branch:
            return None
        raise


def read_ignore_file(reader: RepoReader, commit: str | None, given: Any) -> str:
    """What the client sends goes before the file in the repository."""
    if isinstance(given, str):
        return given
    if commit is None:
        return ""
    try:
        return reader.read_text(commit, ".gitignore")
    except HubError:
        return ""


def decide_one(reader: RepoReader, commit: str | None, rules: Any, file: Any) -> dict[str, Any]:
    path, size, sample = read_file_facts(file)
    decision = {
        "path": path,
        "uploadMode": "lfs" if is_large(path, size, sample) else "regular",
        "shouldIgnore": rules.ignores(path),
    }
    oid = find_identity(reader, commit, path)
    return decision | {"oid": oid} if oid else decision


def read_file_facts(file: Any) -> tuple[str, int, bytes]:
    """(path, size in bytes, first bytes). What no tree can hold is refused before it is matched with anything."""
    path, size, sample = (
        (file.get("path"), file.get("size"), file.get("sample")) if isinstance(file, dict) else ("",) * 3
    )
    if not isinstance(path, str) or not path:
        raise InvalidInput("Each of 'files' needs a 'path'.")
    check_path(path)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidInput(f"The 'size' of {path!r} must be a number of bytes.")
    try:
        data = base64.b64decode(sample or "", validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidInput(f"The 'sample' of {path!r} must be the base64 of its first 512 bytes.") from None
    return path, size, data[:MAX_SAMPLE_BYTES]


def find_identity(reader: RepoReader, commit: str | None, path: str) -> str | None:
    """What the repository holds at `path`, in the client's words: it skips what is unchanged."""
    if commit is None:
        return None
    try:
        entry = reader.entry(commit, path)
    except EntryNotFound:
        return None
    if entry.type != "file":
        return None
    return entry.lfs.sha256 if entry.lfs else entry.oid


preupload = endpoint(POST=decide)
