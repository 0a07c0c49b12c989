"""What the tests of pages share: browsers that are signed in, and repositories to look at."""

from collections.abc import Callable
from typing import Any

import pytest

TABLE = b"harbour,high,low\nBrest,6.1,1.2\nHull,7.0,0.9\n"
README = b"""---
license: cc-by-4.0
language: en
---
# Tide tables

High and low water, see [the table](data/tides.csv) and ![a map](map.png).

## Sources

Harbour masters.
"""


@pytest.fixture
def browser_of() -> Callable[[Any], Any]:
    """`browser_of(alice)` is a browser in which she is signed in; `browser_of(None)` belongs to nobody."""
    from django.test import Client

    def open_browser(person: Any, **options: Any) -> Any:
        browser = Client(**options)
        if person is not None:
            browser.force_login(person.user)
        return browser

    return open_browser


@pytest.fixture
def commit_as() -> Callable[..., Any]:
    """Commit files by the same service that every door uses."""
    from hub.community.contributions import commit
    from hub.storage.git import AddFile

    def commit_files(person: Any, repo: Any, files: dict[str, bytes], **options: Any) -> Any:
        operations = [AddFile(path, content) for path, content in files.items()]
        given = {"revision": "main", "title": "Add files", "door": "web", **options}
        return commit(repo=repo, by=person.user, operations=operations, **given)

    return commit_files


@pytest.fixture
def tides(alice: Any, bob: Any, cleared_at_once: None, commit_as: Callable[..., Any]) -> Any:
    """The public dataset alice/tides with a card and a table; Bob may write to it."""
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import RepoCollaborator

    repo = create_repo(type="dataset", name="tides", by=alice.user, description="High and low water")
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    commit_as(alice, repo, {"README.md": README, "data/tides.csv": TABLE}, title="First tables")
    repo.refresh_from_db()
    return repo


@pytest.fixture
def secret(alice: Any, bob: Any, cleared_at_once: None, commit_as: Callable[..., Any]) -> Any:
    """The private model alice/secret, which Bob may read."""
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import RepoCollaborator

    repo = create_repo(type="model", name="secret", by=alice.user, is_private=True)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="read")
    commit_as(alice, repo, {"README.md": b"# A model in the making\n", "notes.txt": b"do not tell\n"})
    return repo


@pytest.fixture
def proposal(charlie: Any, tides: Any, commit_as: Callable[..., Any]) -> Any:
    """Charlie, a stranger, proposes another row of the table."""
    made = commit_as(charlie, tides, {"data/tides.csv": TABLE + b"Cork,4.0,0.5\n"}, title="Add Cork", create_pr=True)
    made.pull_request.refresh_from_db()
    return made.pull_request
