"""Repositories, commits and decisions of the tests of the rooms below the doors, without screens or HTTP."""

import subprocess
from collections.abc import Iterable
from typing import Any


def make_repo(owner: Any, name: str = "tides", *, type: str = "dataset", **more: Any) -> Any:
    """A repository whose first commit is cleared already."""
    from hub.repos.lifecycle import create_repo

    repo = create_repo(type=type, name=name, by=owner, **more)
    clear(repo)
    repo.refresh_from_db()
    return repo


def add(repo: Any, by: Any, files: dict[str, str | bytes | None], **more: Any) -> Any:
    """Commit to main (or `ref`), as one person, without asking for permission; None deletes. Returns the Revision."""
    from hub.repos.commits import create_commit

    given = {"ref": "refs/heads/main", "title": "Change files", "door": "api", "operations": operations(files), **more}
    return create_commit(repo=repo, by=by, **given)


def propose(repo: Any, by: Any, files: dict[str, str | bytes | None], **more: Any) -> Any:
    """Open a pull request with one commit. Returns the PullRequest."""
    from hub.community.contributions import commit

    given = {"revision": None, "title": "Propose a change", "door": "api", "operations": operations(files), **more}
    made = commit(repo=repo, by=by, create_pr=True, **given)
    made.pull_request.refresh_from_db()
    return made.pull_request


def operations(files: dict[str, str | bytes | None]) -> list[Any]:
    from hub.storage.git import AddFile, DeleteFile

    return [
        DeleteFile(path) if data is None else AddFile(path, data.encode() if isinstance(data, str) else data)
        for path, data in files.items()
    ]


def contents_at(repo: Any, paths: Iterable[str] | None = None) -> Any:
    """Content rows of a repository, all or those first seen at `paths`."""
    rows = repo.contents.select_related("repo").order_by("pk")
    return rows if paths is None else rows.filter(path__in=paths)


def clear(repo: Any, *paths: str) -> None:
    """As moderation does when nothing was found; without paths, everything."""
    decide(repo, "cleared", *paths)


def withhold(repo: Any, *paths: str, reason: str = "It holds a key.") -> None:
    decide(repo, "withheld", *paths, reason=reason)


def decide(repo: Any, clearance: str, *paths: str, reason: str = "") -> None:
    from hub.repos.clearance import set_clearance

    set_clearance(contents=list(contents_at(repo, paths or None)), clearance=clearance, reason=reason)
    repo.refresh_from_db()


def members_head(repo: Any, ref: str = "refs/heads/main") -> str | None:
    from hub.repos.places import pair

    return pair(repo).members.read_ref(ref)


def public_head(repo: Any, ref: str = "refs/heads/main") -> str | None:
    from hub.repos.places import pair

    return pair(repo).public.read_ref(ref)


def public_texts(repo: Any) -> set[bytes]:
    """Every blob that lies in the public half, reachable or not: what a stranger could fetch by its id."""
    from hub.repos.places import pair

    path = str(pair(repo).public.path)
    listing = [
        "git",
        "-C",
        path,
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        "--batch-check=%(objectname) %(objecttype)",
    ]
    rows = [
        line.split() for line in subprocess.run(listing, capture_output=True, check=True, text=True).stdout.splitlines()
    ]
    blobs = [oid for oid, kind in rows if kind == "blob"]
    if not blobs:
        return set()
    given = "".join(f"{oid}\n" for oid in blobs)
    output = subprocess.run(
        ["git", "-C", path, "cat-file", "--batch"], input=given.encode(), capture_output=True, check=True
    ).stdout
    return set(split_batch(output))


def split_batch(output: bytes) -> Iterable[bytes]:
    while output:
        head, _, rest = output.partition(b"\n")
        size = int(head.split()[2])
        yield rest[:size]
        output = rest[size + 1 :]
