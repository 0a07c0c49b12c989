"""People of the moderation room: Alice owns, Bob writes, Charlie brought the data, Dora and Emil write too, Mona moderates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.moderation.scenes import Workshop


@pytest.fixture
def mona(db: None) -> Any:
    """A moderator who owns nothing."""
    from tests.people import make_person

    return make_person("mona", is_moderator=True)


@pytest.fixture
def dora(db: None) -> Any:
    from tests.people import make_person

    return make_person("dora")


@pytest.fixture
def workshop(transactional_db: None, alice: Any, bob: Any, charlie: Any) -> Workshop:
    """Alice's base, suite and model, to which Bob may write; Charlie's data."""
    return Workshop.build(alice.user, bob.user, charlie.user)


@pytest.fixture
def releasable(workshop: Workshop, dora: Any, tmp_path: Path) -> Workshop:
    """The model with merged weights, evaluated and screened; Dora may write too."""
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=workshop.model, user=dora.user, role="write")
    workshop.make_model(tmp_path / "made")
    return workshop


@pytest.fixture
def proposed(releasable: Workshop) -> Any:
    """Alice proposed 1.0.0; Bob and Dora may approve."""
    from moderation.releases import propose_release

    return propose_release(repo=releasable.model, by=releasable.owner, version="1.0.0")


@pytest.fixture
def published(proposed: Any, bob: Any, dora: Any) -> Any:
    from moderation.releases import approve

    approve(release=proposed, by=bob.user)
    return approve(release=proposed, by=dora.user, digest=proposed.digest)


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
