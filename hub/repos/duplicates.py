"""A copy of a repository under another name: the history that its maker may read, with its authors.

Bytes are stored once, so a copy costs little. Pull requests, discussions and releases stay where they are; contents
are judged anew for the copy, as any commit is."""

from collections.abc import Callable
from functools import partial

from hub.accounts.models import Organization, User
from hub.accounts.permissions import require
from hub.common.errors import Forbidden, InvalidInput, TooLarge
from hub.repos.blobs import may_leave
from hub.repos.commits import SQL_BATCH, register_commits
from hub.repos.lifecycle import discard_repo, start_repo
from hub.repos.models import PendingWrite, Repo, Revision
from hub.repos.places import pair
from hub.repos.quotas import check_owner_room
from hub.repos.reader import RepoReader
from hub.storage.git import GitRepo
from hub.storage.git.objects import copy_objects

MAX_COMMITS = 5_000  # they are registered within one request
MAX_REFS = 1_000  # each is followed by rows and by the public half
COPIED = ("refs/heads/", "refs/tags/")


def duplicate_repo(
    *, source: Repo, by: User, name: str, owner: User | Organization | None = None, is_private: bool | None = None
) -> Repo:
    """Copy the branches and tags that `by` may read. Private unless the source is public and nothing else is asked for;
    gated where the source is.

    Raises Conflict (with `url_path`) when the name is taken, Forbidden when a file of the history may not be read."""
    if source.is_disabled:
        raise Forbidden(f"Moderation has switched {source.full_name} off; it is not copied.")
    require(by, "read_files", source)
    if source.is_private and is_private is False:
        raise InvalidInput(
            f"{source.full_name} is private, so its copy starts private; its owner may publish it later."
        )
    reader = RepoReader(source, by)
    # What was trained here and is not released yet stays behind, even for members.
    git = pair(source).public if source.shows == Repo.Shows.RELEASES else reader.git
    refs = {ref: oid for ref, oid in git.refs().items() if ref.startswith(COPIED)}
    main = f"refs/heads/{source.default_branch}"
    if main not in refs:
        raise InvalidInput(f"Nothing in {source.full_name} is public yet, so there is nothing to copy.")
    if len(refs) > MAX_REFS:
        raise TooLarge(
            f"It has {len(refs):,} branches and tags; up to {MAX_REFS:,} are copied here. "
            "Clone it with git and push those you need to a new repository instead."
        )
    check_history(git, list(refs.values()), may_have=reader.may_have, may_leave=partial(may_leave, source))

    check_owner_room(source, owner or by)

    def fill(members: GitRepo) -> str:
        copy_objects(git.path, members.path, wanted=sorted(set(refs.values())), held=[])
        for ref, oid in refs.items():
            members.move_ref(ref, oid, None)
        return members.peel(refs[main])

    copy = start_repo(
        type=source.type,
        name=name,
        by=by,
        owner=owner,
        is_private=source.is_private if is_private is None else is_private,
        description=source.description,
        gated=source.gated,
        fill=fill,
        others=[ref for ref in refs if ref != main],
    )
    try:
        for ref, oid in refs.items():
            register_commits(repo=copy, ref=ref, old=None, new=oid, by=by, door="hub")
            PendingWrite.objects.filter(repo=copy, ref=ref).delete()
        keep_authors(source, copy)
    except Exception:
        discard_repo(copy, by=by)  # half a copy, with its history in the wrong name, is worse than none
        raise
    copy.refresh_from_db()
    return copy


def check_history(
    git: GitRepo, tips: list[str], *, may_have: Callable[[str], bool], may_leave: Callable[[str], bool]
) -> None:
    """Every large file of the history must be one that the maker of the copy could download and take away."""
    commits = list(dict.fromkeys(oid for tip in tips for oid in git.ancestors_not_in(git.peel(tip), [])))
    if len(commits) > MAX_COMMITS:
        raise TooLarge(
            f"It has {len(commits):,} commits; up to {MAX_COMMITS:,} are copied here. "
            "Clone it with git and push it to a new repository instead."
        )
    seen: set[str] = set()
    for oid in commits:
        for path, _, _, pointer in git.new_blobs(oid, git.commit_info(oid).parents):
            if pointer is None or pointer.sha256 in seen:
                continue
            seen.add(pointer.sha256)
            if not may_have(pointer.sha256):
                raise Forbidden(
                    f"{path} (commit {oid[:12]}) is not cleared for you, so the history cannot be copied whole; "
                    "download the files you need and upload them to a repository of your own."
                )
            if not may_leave(pointer.sha256):
                raise Forbidden(
                    f"{path} (commit {oid[:12]}) was trained here and waits for its release; copy the history after it, "
                    "or remove the branch that names it."
                )


def keep_authors(source: Repo, copy: Repo) -> None:
    """Credit stays with who made each commit, not with who copied it."""
    mine = {row.commit: row for row in Revision.objects.filter(repo=copy)}
    commits = sorted(mine)
    for start in range(0, len(commits), SQL_BATCH):
        rows = Revision.objects.filter(repo=source, commit__in=commits[start : start + SQL_BATCH])
        for commit, author_id, created_at in rows.values_list("commit", "author_id", "created_at"):
            mine[commit].author_id, mine[commit].created_at = author_id, created_at
    Revision.objects.bulk_update(mine.values(), ["author_id", "created_at"], batch_size=200)
