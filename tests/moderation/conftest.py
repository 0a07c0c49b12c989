"""People of the moderation room: Alice owns, Bob writes, Charlie brought the data, Dora and Emil write too, Mona moderates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.moderation.scenes import SECRET, STAGES, Workshop, bring, build_scene, make_repo


@pytest.fixture
def mona(db: None) -> Any:
    """A moderator who owns nothing."""
    from tests.people import make_person

    return make_person("mona", is_moderator=True)


@pytest.fixture
def dora(db: None, scene: dict[str, Any]) -> Any:
    from tests.people import make_person

    return scene.get("dora") or make_person("dora")


@pytest.fixture
def scene(request: pytest.FixtureRequest, db: None, data_dir: Path, snapshots: Any, tmp_path: Path) -> dict[str, Any]:
    """The farthest of the stages that the test asks for, with its people."""
    asked = [name for name in STAGES if name in request.fixturenames]
    return snapshots.begin(asked[-1], data_dir, lambda: build_scene(asked[-1], tmp_path)) if asked else {}


@pytest.fixture
def workshop(transactional_db: None, scene: dict[str, Any]) -> Workshop:
    """Alice's base, suite and model, to which Bob may write; Charlie's data."""
    return scene["workshop"]


@pytest.fixture
def releasable(workshop: Workshop) -> Workshop:
    """The model with merged weights, evaluated and screened; Dora may write too."""
    return workshop


@pytest.fixture
def proposed(releasable: Workshop, scene: dict[str, Any]) -> Any:
    """Alice proposed 1.0.0; Bob and Dora may approve."""
    return scene["release"]


@pytest.fixture
def published(proposed: Any) -> Any:
    """Both did."""
    return proposed


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
def held(alice: Any, bob: Any, mona: Any) -> Any:
    """The case of a file that holds a secret, in a dataset to which Bob may write."""
    from hub.repos.models import RepoCollaborator
    from moderation.models import Case

    repo = make_repo("dataset", "tides", alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    return Case.objects.get()
