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
