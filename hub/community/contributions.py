"""The one entry for every door that writes files: who may write where, what becomes a pull request, what is large."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings

from hub.accounts.models import User
from hub.accounts.permissions import can, require, require_commit
from hub.common.errors import Forbidden, HubError, InvalidInput, NotFound, RevisionNotFound, TooLarge
from hub.common.paging import read_number
from hub.community.models import Discussion, PullRequest
from hub.community.pull_requests import (
    check_accepts_push,
    discard,
    find_pull_request,
    head_moved,
    open_pull_request,
    start_point,
)
from hub.community.recipe_locks import LOCK, check_lock
from hub.repos.blobs import may_commit_blob, store, take_in
from hub.repos.commits import create_commit, noted
from hub.repos.largeness import is_large
from hub.repos.models import Repo, Revision
from hub.repos.places import pair
from hub.repos.purged import refuse_purged
from hub.repos.reader import RepoReader, digest_of
from hub.repos.refs import check_direct_change
from hub.storage.errors import StorageError
from hub.storage.git import ANY, AddFile, AddPointer, CopyFile, check_path, parse_pointer
from hub.storage.git.objects import hash_object

MAX_OPERATIONS = 50_000


@dataclass(frozen=True)
class Contribution:
    """What a commit became: the revision, the ref it is on, and the pull request if it is on one."""

    revision: Revision
    ref: str
    pull_request: PullRequest | None


def reader_for(repo: Repo, user: Any) -> RepoReader:
    """The reader of this person, who also sees their own pull requests before they are cleared."""
    refs: frozenset[str] = frozenset()
    if getattr(user, "is_authenticated", False) and not can(user, "read_members", repo):
        mine = Discussion.objects.filter(repo=repo, author=user, is_pull_request=True)
        refs = frozenset(f"refs/pr/{number}" for number in mine.values_list("number", flat=True)[:200])
    return RepoReader(repo, user, pull_request_refs=refs)


def commit(
    *,
    repo: Repo,
    by: User,
    revision: str | None,
    operations: Sequence[Any],
    title: str,
    description: str = "",
    expected_parent: str | None = None,
    create_pr: bool = False,
    door: str,
) -> Contribution:
    """Commit to a branch (write access), to refs/pr/N (author or write access), or as a new pull request (anybody who may read)."""
    require(by, "propose", repo)
    if len(operations) > MAX_OPERATIONS:
        raise TooLarge(f"A commit holds at most {MAX_OPERATIONS:,} operations; split this one of {len(operations):,}.")
    name = revision or repo.default_branch
    if create_pr:
        target = name.removeprefix("refs/heads/")
        start_point(repo, by, target)  # refuses an unknown target before anything is stored
        prepared = prepare(repo=repo, by=by, operations=operations)
        pull_request = open_pull_request(repo=repo, by=by, title=title_of(title), text=description, target=target)
        try:
            return commit_to_pull_request(pull_request, by, prepared, title, description, expected_parent, door)
        except (HubError, StorageError):
            discard(pull_request)  # a refused commit leaves no empty pull request behind
            raise
    if name.startswith("refs/pr/"):
        pull_request = find_by_ref(repo, name, by)
        check_accepts_push(pull_request, by)
        prepared = prepare(repo=repo, by=by, operations=operations)
        return commit_to_pull_request(pull_request, by, prepared, title, description, expected_parent, door)
    require_commit(by, repo)
    branch = check_branch(repo, name)
    check_direct_change(repo, branch)
    prepared = prepare(repo=repo, by=by, operations=operations)
    made = create_commit(
        repo=repo,
        by=by,
        ref=f"refs/heads/{branch}",
        operations=prepared,
        title=title,
        description=description,
        expected_parent=expected_parent or ANY,
        door=door,
    )
    return Contribution(made, f"refs/heads/{branch}", None)


def title_of(title: str) -> str:
    """Titles of commits may be shorter than those of pull requests."""
    title = " ".join(title.split())[:300]
    return title if len(title) >= 3 else f"Update: {title}"


def check_branch(repo: Repo, name: str) -> str:
    """The branch a commit goes to. Tags, candidates and single commits cannot be committed to."""
    branch = name.removeprefix("refs/heads/")
    if branch.startswith("refs/") or branch in ("stable", "candidate"):
        raise Forbidden(f"{name!r} is kept by the hub; commit to a branch or open a pull request.")
    if pair(repo).members.read_ref(f"refs/heads/{branch}") is None:
        raise RevisionNotFound(f"There is no branch {branch!r} in {repo.full_name}; create it first.")
    return branch


def find_by_ref(repo: Repo, ref: str, by: User) -> PullRequest:
    number = read_number(ref.removeprefix("refs/pr/"))
    if number is None:
        raise NotFound(f"There is no pull request {ref[:100]!r} in {repo.full_name}.")
    return find_pull_request(repo, number, by)


def commit_to_pull_request(
    pull_request: PullRequest,
    by: User,
    operations: Sequence[Any],
    title: str,
    description: str,
    expected_parent: str | None,
    door: str,
) -> Contribution:
    repo = pull_request.discussion.repo
    with noted(repo=repo, ref=pull_request.ref, by=by, door=door):
        made = create_commit(
            repo=repo,
            by=by,
            ref=pull_request.ref,
            operations=operations,
            title=title,
            description=description,
            expected_parent=expected_parent or ANY,
            door=door,
        )
        head_moved(pull_request, by=by)
    return Contribution(made, pull_request.ref, pull_request)


def prepare(*, repo: Repo, by: User, operations: Sequence[Any]) -> list[Any]:
    """Check every operation before anything moves: paths, ownership of large files, sources of copies, recipe.lock.

    Inline content that is big or binary goes to the byte store and becomes a pointer."""
    reader: RepoReader | None = None
    refuse_purged(repo, ((item.path, digest_of_operation(item)) for item in operations if is_addition(item)))
    prepared: list[Any] = []
    for operation in operations:
        if isinstance(operation, AddFile | AddPointer):
            check_path(operation.path)
            if isinstance(operation, AddFile):
                operation = read_pointer(operation) or store_if_large(repo, by, operation)
            if isinstance(operation, AddPointer):
                check_owned(repo, by, operation)
            if operation.path == LOCK:
                check_lock(repo, digest_of_operation(operation))
        elif isinstance(operation, CopyFile):
            reader = reader or reader_for(repo, by)
            source = reader.resolve(operation.source_commit or None)
            entry = reader.entry(source, operation.source_path)
            reader.check_bytes(entry)
            if entry.lfs is not None and store().renew(entry.lfs.sha256) is None:
                raise InvalidInput(
                    f"{operation.source_path}: its bytes are not stored any more; upload the file again."
                )
            if operation.path == LOCK:
                check_lock(repo, digest_of(entry))
            operation = replace(operation, source_commit=source)
        prepared.append(operation)
    return prepared


def is_addition(operation: Any) -> bool:
    return isinstance(operation, AddFile | AddPointer)


def read_pointer(operation: AddFile) -> AddPointer | None:
    """A pointer sent as text stands for the large file that it names, and is judged like one."""
    pointer = parse_pointer(operation.content)
    return AddPointer(operation.path, pointer.sha256, pointer.size) if pointer else None


def digest_of_operation(operation: AddFile | AddPointer) -> str:
    """The name that clearance will know the file by."""
    if isinstance(operation, AddPointer):
        return f"sha256:{operation.sha256}"
    return f"git:{hash_object('blob', operation.content)}"


def store_if_large(repo: Repo, by: User, operation: AddFile) -> AddFile | AddPointer:
    if not is_large(operation.path, len(operation.content), operation.content):
        return operation
    stored = take_in(repo=repo, by=by, pieces=[operation.content])
    return AddPointer(operation.path, stored.sha256, stored.size)


def check_owned(repo: Repo, by: User, operation: AddPointer) -> None:
    stored = store().renew(operation.sha256)  # the next collection stays away until the commit names it
    if stored is None or not may_commit_blob(repo=repo, by=by, sha256=operation.sha256):
        raise InvalidInput(
            f"{operation.path}: the file with sha256 {operation.sha256[:12]}… was not uploaded to {repo.full_name} by you; "
            "upload it first, then commit."
        )
    if operation.size != stored.size:
        raise InvalidInput(f"{operation.path}: the file has {stored.size:,} bytes, not {operation.size:,}.")
    if stored.size > settings.MAX_FILE_BYTES:
        raise TooLarge(f"{operation.path} has {stored.size:,} bytes; this hub takes {settings.MAX_FILE_BYTES:,}.")
