"""Export: a repository whole, as a stream of bounded memory.

The history lies in a git bundle with all branches, tags and pull requests, the large files beside it by SHA-256, and what
people said, one JSON record a line. No e-mail address but those that git's own commits hold, no token, no secret; private
discussions stay here, and so do the bytes of attachments."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.utils import timezone

from hub.accounts.models import User
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.archives.manifest import (
    BUNDLE,
    MANIFEST,
    MAX_FILES,
    RECORDS,
    Entry,
    Manifest,
    describe_file,
)
from hub.community.archives.records import DATA
from hub.community.archives.tar import END, PIECE_BYTES, format_header, padding, size_with_header
from hub.community.models import Discussion, Event, PullRequest
from hub.repos.blobs import may_leave
from hub.repos.models import Content, Repo, Revision
from hub.repos.places import pair, store
from hub.repos.purged import is_purged_file
from hub.storage.git.bundles import write_bundle
from hub.storage.git.marks import list_named_files

CARRIED = ("refs/heads/", "refs/tags/", "refs/pr/")  # candidates are built anew where they are needed
BATCH = 500

# Name of a kind of record -> what a room above tells of a repository. Rooms add themselves when the program starts.
MORE_RECORDS: dict[str, Callable[[Repo], Iterable[dict[str, Any]]]] = {}


def adds_records(kind: str, list_records: Callable[[Repo], Iterable[dict[str, Any]]]) -> None:
    MORE_RECORDS[kind] = list_records


@dataclass(frozen=True)
class Export:
    """Ready to be sent; `pieces` may be read once and closes what it needs."""

    size: int  # bytes of all pieces together
    pieces: Iterator[bytes]


def export_repo(repo: Repo, *, is_operator: bool = False) -> Export:
    """Who may have it is for the caller to ask. Raises Conflict when a large file of the history is not there any more, and
    Forbidden while weights that were made here wait for their release; an operator, who moves a hub, takes them along."""
    with ExitStack() as files:
        records = files.enter_context(tempfile.TemporaryFile())
        bundle = files.enter_context(tempfile.TemporaryFile())
        members = pair(repo).members
        refs = {ref: oid for ref, oid in members.refs().items() if ref.startswith(CARRIED)}
        if f"refs/heads/{repo.default_branch}" not in refs:
            raise InvalidInput(
                f"{repo.full_name} has no branch {repo.default_branch} yet, so there is nothing to export."
            )
        write_bundle(members, refs, bundle)
        write_records(repo, refs, records)
        named = sorted(list_named_files(members, tips=sorted(set(refs.values()))))
        large = list_large(repo, named, is_operator=is_operator)
        entries = [describe_file(RECORDS, records), describe_file(BUNDLE, bundle), *large]
        now = timezone.now().isoformat(timespec="seconds")
        manifest = Manifest(repo.type, repo.full_name, settings.PUBLIC_URL, now, entries).format()
        size = sum(size_with_header(count) for count in [len(manifest), *(row.size for row in entries)]) + len(END)
        return Export(size, write_pieces(manifest, entries, {RECORDS: records, BUNDLE: bundle}, files.pop_all()))
    raise AssertionError("The block returns or raises.")


def list_large(repo: Repo, named: list[str], *, is_operator: bool) -> list[Entry]:
    if len(named) > MAX_FILES:
        raise InvalidInput(
            f"{repo.full_name} holds {len(named):,} large files; at most {MAX_FILES:,} fit into an archive."
        )
    found = []
    for sha256 in named:
        stored = store().renew(sha256)  # no collection comes in between
        if stored is None or is_purged_file(repo, sha256):  # others may hold the same bytes; here they are gone
            raise Conflict(
                f"{repo.full_name} names a large file that is not stored any more ({sha256}); it cannot go whole."
            )
        if not is_operator and not may_leave(repo, sha256):
            raise Forbidden(
                f"{repo.full_name} holds weights that were trained here and wait for their release; export it after that."
            )
        found.append(Entry(f"files/{sha256}", stored.size, sha256))
    return found


def write_pieces(
    manifest: bytes, entries: list[Entry], written: dict[str, IO[bytes]], files: ExitStack
) -> Iterator[bytes]:
    with files:
        yield format_header(MANIFEST, len(manifest)) + manifest + padding(len(manifest))
        for entry in entries:
            yield format_header(entry.name, entry.size)
            yield from read_file(written[entry.name]) if entry.name in written else store().read(entry.sha256)
            yield padding(entry.size)
        yield END


def read_file(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def write_records(repo: Repo, refs: dict[str, str], file: IO[bytes]) -> None:
    for record in list_records(repo, refs):
        file.write(json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")


def list_records(repo: Repo, refs: dict[str, str]) -> Iterator[dict[str, Any]]:
    yield {
        "record": "repository", "type": repo.type, "name": repo.full_name, "description": repo.description,
        "is_private": repo.is_private, "gated": repo.gated, "default_branch": repo.default_branch, "shows": repo.shows,
        "has_release_policy": repo.has_release_policy, "next_number": repo.next_number, "created_at": told_time(repo.created_at),
    }  # fmt: skip
    for row in repo.collaborators.select_related("user").order_by("user__username"):
        yield {"record": "collaborator", "name": row.user.username, "role": row.role}
    for revision in Revision.objects.filter(repo=repo).select_related("author").order_by("pk").iterator(BATCH):
        yield {
            "record": "revision", "commit": revision.commit, "author": told_name(revision.author), "door": revision.door,
            "created_at": told_time(revision.created_at),
        }  # fmt: skip
    for content in Content.objects.filter(repo=repo).order_by("pk").iterator(BATCH):
        yield {
            "record": "content", "digest": content.digest, "size": content.size, "path": content.path,
            "clearance": content.clearance,
        }  # fmt: skip
    for kind, list_more in MORE_RECORDS.items():
        yield from ({"record": kind, **row} for row in list_more(repo))
    talks = Discussion.objects.filter(repo=repo, is_private=False).select_related("author", "pull_request")
    for discussion in talks.order_by("number").iterator(BATCH):
        yield from list_talk(discussion, refs)


def list_talk(discussion: Discussion, refs: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A discussion and its entries. One that was opened after the references were read is left for the next export."""
    pull_request = discussion.pull_request if discussion.is_pull_request else None
    if pull_request is not None and pull_request.ref not in refs:
        return
    yield {
        "record": "discussion", "number": discussion.number, "title": discussion.title,
        "author": told_name(discussion.author) or discussion.imported_author or None, "status": discussion.status,
        "created_at": told_time(discussion.created_at), "updated_at": told_time(discussion.updated_at),
        "pull_request": describe_pull_request(pull_request) if pull_request is not None else None,
    }  # fmt: skip
    for event in discussion.events.select_related("author").iterator(BATCH):
        yield describe_event(event) | {"record": "event", "discussion": discussion.number}
    if pull_request is not None:
        for review in pull_request.reviews.select_related("by").order_by("pk"):
            yield {
                "record": "review", "discussion": discussion.number, "by": told_name(review.by), "verdict": review.verdict,
                "digest": review.digest, "text": review.text, "at": told_time(review.at),
            }  # fmt: skip


def describe_pull_request(pull_request: PullRequest) -> dict[str, Any]:
    return {
        "target": pull_request.target, "base": pull_request.base, "merge_commit": pull_request.merge_commit,
        "merged_at": told_time(pull_request.merged_at),
    }  # fmt: skip


def describe_event(event: Event) -> dict[str, Any]:
    data = {key: value for key, value in event.data.items() if key in DATA[event.kind]}  # some are for this hub alone
    if data.get("hidden"):
        data["text"] = ""  # what was hidden is told to nobody
    author = told_name(event.author) or event.data.get("imported_author") or None
    return {
        "kind": event.kind,
        "author": author,
        "data": data,
        "at": told_time(event.at),
        "edited_at": told_time(event.edited_at),
    }


def told_name(user: User | None) -> str | None:
    return user.username if user is not None else None


def told_time(moment: Any) -> str | None:
    return moment.isoformat() if moment is not None else None
