"""Branches and tags, and which names are not for people: one rule for the API, the pages and git pushes."""

import re

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, InvalidInput, RevisionNotFound
from hub.repos.commits import author_of, move_ref, noted, register_commits
from hub.repos.models import Repo
from hub.repos.places import pair, store
from hub.storage.errors import InvalidOperation, StaleParent
from hub.storage.git.operations import check_ref

MAX_NAME_CHARACTERS = 100
SERVER_NAMES = frozenset({"stable", "candidate", "head"})  # revisions that the hub itself answers
VERSION_NAME = re.compile(r"v\d+\.\d+\.\d+.*")  # a branch of that name would be found before the tag of a release


def check_branch_name(repo: Repo, name: str) -> str:
    """The full ref of a branch that people may make. Raises InvalidInput, Forbidden."""
    if name.lower() in SERVER_NAMES or name.startswith("refs/"):
        raise InvalidInput(f"{name!r} is a name that the hub itself answers; choose another for the branch.")
    if VERSION_NAME.fullmatch(name) and (repo.has_release_policy or repo.public_releases.filter(tag=name).exists()):
        raise Forbidden(f"{name!r} is the name of a release in {repo.full_name}; choose another for the branch.")
    return check_form(f"refs/heads/{name}", "branch", name)


def check_direct_change(repo: Repo, branch: str) -> None:
    """Raises Forbidden for the branch that changes by merged proposals alone."""
    if repo.is_policy and branch == repo.default_branch:
        raise Forbidden(
            f"{branch} of {repo.full_name} holds the rules of this hub and changes by proposals alone; "
            f"open a pull request instead (create_pr=True, or git push origin HEAD:refs/for/{branch})."
        )


def check_tag_name(repo: Repo, name: str) -> str:
    """The full ref of a tag that people may make or remove. Tags of releases belong to the release gate."""
    if name.lower() in SERVER_NAMES or name.startswith("refs/"):
        raise InvalidInput(f"{name!r} is a name that the hub itself answers; choose another for the tag.")
    if repo.has_release_policy and name.startswith("v"):
        raise Forbidden(
            f"Tags that begin with 'v' are made by releases in {repo.full_name}; propose a release instead."
        )
    if repo.public_releases.filter(tag=name).exists():
        raise Forbidden(f"The tag {name!r} belongs to a release of {repo.full_name}, which never changes.")
    return check_form(f"refs/tags/{name}", "tag", name)


def check_form(ref: str, kind: str, name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidInput(
            f"The {kind} name {name[:30]!r}... has {len(name)} characters; use at most {MAX_NAME_CHARACTERS}."
        )
    try:
        return check_ref(ref)
    except InvalidOperation:
        raise InvalidInput(
            f"{name!r} is not a {kind} name that git accepts; leave out spaces, '..', ':', '?', '*' and '['."
        ) from None


def create_branch(*, repo: Repo, by: User, name: str, start: str) -> str:
    """A branch at the commit `start`. Raises Conflict when it exists."""
    require(by, "write", repo)
    ref = check_branch_name(repo, name)
    return create_ref(repo=repo, by=by, ref=ref, start=start, kind="branch", name=name)


def create_tag(*, repo: Repo, by: User, name: str, start: str) -> str:
    """A plain tag at the commit `start`. Raises Conflict when it exists."""
    require(by, "write", repo)
    ref = check_tag_name(repo, name)
    return create_ref(repo=repo, by=by, ref=ref, start=start, kind="tag", name=name)


def create_ref(*, repo: Repo, by: User, ref: str, start: str, kind: str, name: str) -> str:
    if pair(repo).members.read_ref(ref) is not None:
        raise Conflict(f"Reference already exists: the {kind} {name!r} is in {repo.full_name}; choose another name.")
    renew_files(repo, start)
    move_ref(repo=repo, ref=ref, new=start, expected=None, by=by, door="api")
    return ref


def squash_branch(*, repo: Repo, by: User, name: str, message: str) -> str:
    """Put one commit with the present files in place of a branch's history; returns its id. Tags and other branches keep
    what they name. Raises Conflict when somebody commits meanwhile."""
    require(by, "write", repo)
    ref = check_branch_name(repo, name)
    check_direct_change(repo, name)
    if name == repo.default_branch and repo.has_release_policy:
        raise Forbidden(f"The history of {name} belongs to releases and is not squashed.")
    members = pair(repo).members
    head = members.read_ref(ref)
    if head is None:
        raise RevisionNotFound(f"There is no branch {name!r} in {repo.full_name}.")
    title = " ".join(message.split())[:300] or f"Squash the history of {name}"
    with noted(repo=repo, ref=ref, by=by, door="api"):
        new = members.squash(head, author=author_of(by), message=title)
        try:
            members.move_ref(ref, new, head)
        except StaleParent:
            raise Conflict(f"{name} of {repo.full_name} was moved by somebody else a moment ago; look again.") from None
        register_commits(repo=repo, ref=ref, old=head, new=new, by=by, door="api")
    return new


def renew_files(repo: Repo, commit: str) -> None:
    """Before a reference names a commit that none reaches any more: keep collections away from its large files.

    Raises RevisionNotFound when one has been collected already."""
    members = pair(repo).members
    tips = {members.peel(oid) for oid in members.refs().values()}
    for oid in members.ancestors_not_in(members.peel(commit), tips):
        for path, _, _, pointer in members.new_blobs(oid, members.commit_info(oid).parents):
            if pointer is not None and store().renew(pointer.sha256) is None:
                raise RevisionNotFound(f"{path} of {oid[:12]} was let go and its bytes are not stored any more.")


def delete_branch(*, repo: Repo, by: User, name: str) -> None:
    require(by, "write", repo)
    if name == repo.default_branch:
        raise Conflict(f"{name!r} is the main branch of {repo.full_name} and stays.")
    delete_ref(repo=repo, by=by, ref=check_branch_name(repo, name), kind="branch", name=name)


def delete_tag(*, repo: Repo, by: User, name: str) -> None:
    require(by, "write", repo)
    delete_ref(repo=repo, by=by, ref=check_tag_name(repo, name), kind="tag", name=name)


def delete_ref(*, repo: Repo, by: User, ref: str, kind: str, name: str) -> None:
    old = pair(repo).members.read_ref(ref)
    if old is None:
        raise RevisionNotFound(f"There is no {kind} {name!r} in {repo.full_name}.")
    move_ref(repo=repo, ref=ref, new=None, expected=old, by=by, door="api")
