"""What the tests of this room share: content that nobody screens, and one public data set."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hub.scenes import make_repo


@pytest.fixture
def unscreened() -> Iterator[None]:
    """The screens are away: content stays pending until the test decides."""
    from hub.repos.events import revision_created
    from moderation.listeners import screen_new_content

    revision_created.disconnect(screen_new_content)
    yield
    revision_created.connect(screen_new_content)


@pytest.fixture
def tides(alice: Any, unscreened: None) -> Any:
    """alice/tides, a public data set with one cleared commit."""
    return make_repo(alice.user)


@pytest.fixture
def writer(bob: Any, tides: Any) -> Any:
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=tides, user=bob.user, role="write")
    return bob


@pytest.fixture
def proposal(charlie: Any, tides: Any) -> Any:
    """Charlie, a stranger, proposes a.txt; it is cleared."""
    from tests.hub.community.proposals import fresh
    from tests.hub.scenes import clear, propose

    pull_request = propose(tides, charlie.user, {"a.txt": "one"})
    clear(tides)
    return fresh(pull_request)
