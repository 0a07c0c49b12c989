"""Commits: what they say, how they follow each other, and how a new one is written down."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import SortMode

from hub.storage.errors import InvalidOperation, UnknownRevision
from hub.storage.git.operations import Author
from hub.storage.git.processes import run_git

HISTORY_S = 20.0  # a peer's per-file log ran for minutes after its reader had gone
TRAILER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*: .*")
TRAILER_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class CommitInfo:
    oid: str
    parents: tuple[str, ...]
    title: str  # first line of the message
    message: str  # what follows the title, trailers included
    author: Author
    date: datetime  # when it was committed, UTC


def commit_info(handle: pygit2.Repository, oid: str) -> CommitInfo:
    return describe_commit(find_commit(handle, oid))


def find_commit(handle: pygit2.Repository, oid: str) -> pygit2.Commit:
    try:
        found = handle[oid]
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, pygit2.Commit):
        raise UnknownRevision(f"Commit {oid[:100]} does not exist in this repository.")
    return found


def describe_commit(commit: pygit2.Commit) -> CommitInfo:
    title, _, rest = commit.raw_message.decode(errors="replace").strip("\n").partition("\n")
    author = commit.author
    return CommitInfo(
        oid=str(commit.id),
        parents=tuple(str(parent) for parent in commit.parent_ids),
        title=title.strip(),
        message=rest.strip("\n"),
        author=Author(
            name=author.raw_name.decode(errors="replace"),
            email=author.raw_email.decode(errors="replace"),
            when=_read_time(author.time),
        ),
        date=_read_time(commit.commit_time),
    )


def _read_time(seconds: int) -> datetime:
    # A pushed commit may claim any second that fits 64 bits.
    try:
        return datetime.fromtimestamp(max(0, seconds), UTC)
    except (OverflowError, ValueError, OSError):
        return LAST_MOMENT


def history(
    handle: pygit2.Repository, commit: str, *, path: str | None = None, skip: int = 0, limit: int = 50
) -> list[CommitInfo]:
    """The commit and its ancestors, newest first; with `path`, those that changed it."""
    start = find_commit(handle, commit)
    if path is None:
        # As `git log`: a child always before its parent on one line, whatever their clocks say, and no full walk.
        walker = handle.walk(start.id, SortMode.NONE)
        return [describe_commit(found) for found in islice(walker, skip, skip + limit)]
    arguments = ["rev-list", f"--skip={skip}", f"--max-count={limit}", str(start.id), "--", f":(literal,top){path}"]
    output = run_git(Path(handle.path), *arguments, limit_s=HISTORY_S)
    return [commit_info(handle, oid) for oid in output.decode().split()]


def first_parents(handle: pygit2.Repository, commit: str, *, until: str | None, limit: int) -> list[CommitInfo]:
    line: list[CommitInfo] = []
    current: str | None = commit
    while current is not None and current != until and len(line) < limit:
        line.append(commit_info(handle, current))
        current = next(iter(line[-1].parents), None)
    return line


def ancestors_not_in(handle: pygit2.Repository, commit: str, excluding: Iterable[str]) -> list[str]:
    """`commit` and its ancestors that none of `excluding` reaches, each after its parents."""
    walker = handle.walk(find_commit(handle, commit).id, SortMode.TOPOLOGICAL | SortMode.REVERSE)
    for oid in excluding:
        walker.hide(find_commit(handle, oid).id)
    return [str(found.id) for found in walker]


def is_ancestor(handle: pygit2.Repository, ancestor: str, descendant: str) -> bool:
    """Whether `descendant` contains `ancestor`; a commit contains itself."""
    older, newer = find_commit(handle, ancestor).id, find_commit(handle, descendant).id
    return bool(older == newer or handle.descendant_of(newer, older))


def format_commit(*, tree: str, parents: Sequence[str], author: Author, message: str) -> bytes:
    """The raw commit; author and committer are the same person at the same moment."""
    person = _format_person(author)
    lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents), f"author {person}", f"committer {person}"]
    return "\n".join([*lines, "", message.rstrip("\n") + "\n"]).encode(errors="replace")


def _format_person(author: Author) -> str:
    email = re.sub(r"[\s<>\x00-\x1f]", "", author.email)
    # git trims these from the ends of a name and forbids <, > and newlines within it.
    name = re.sub(r"[<>\x00-\x1f\x7f]", "", author.name).strip(" .,:;\"'\\")
    return f"{name or email.partition('@')[0] or 'unknown'} <{email}> {author.timestamp} +0000"


def compose_message(message: str, trailers: Mapping[str, str] | None) -> str:
    """The message with `Key: value` lines as its last paragraph, joined to trailers that are there already.

    Raises InvalidOperation for an empty message or a key that is no trailer key."""
    text = message.replace("\r\n", "\n").replace("\0", "").strip()
    if not text:
        raise InvalidOperation("A commit needs a message; say in a few words what it does.")
    if not trailers:
        return text
    for key in trailers:
        if not TRAILER_KEY.fullmatch(key):
            raise InvalidOperation(f"{key[:50]!r} is no trailer key; use letters, digits and '-'.")
    lines = [f"{key}: {' '.join(value.split())}" for key, value in trailers.items()]
    paragraphs = text.split("\n\n")
    is_open = len(paragraphs) > 1 and all(TRAILER.fullmatch(line) for line in paragraphs[-1].split("\n"))
    return text + ("\n" if is_open else "\n\n") + "\n".join(lines)
