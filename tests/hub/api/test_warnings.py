"""Who uploads through the API hears what of it the public does not see, and the page of the repository says how far behind it is."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from django.test import Client
from huggingface_hub.utils import _http

from tests.hub.scenes import add, clear, make_repo, members_head, public_head

pytestmark = pytest.mark.django_db


@pytest.fixture
def unscreened() -> Iterator[None]:
    """The screens are away: content stays pending."""
    from hub.repos.events import revision_created
    from moderation.listeners import screen_new_content

    revision_created.disconnect(screen_new_content)
    yield
    revision_created.connect(screen_new_content)


@pytest.fixture
def repo(alice: Any) -> Any:
    return make_repo(alice.user)


def commit(client: Client, by: Any, rest: str = "main", path: str = "a.txt") -> Any:
    lines = [
        {"key": "header", "value": {"summary": "Add"}},
        {"key": "file", "value": {"path": path, "content": f"The water at {path}\n", "encoding": "utf-8"}},
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    headers = {"Authorization": f"Bearer {by.token}"}
    address = f"/api/datasets/alice/tides/commit/{rest}"
    return client.post(address, body, content_type="application/x-ndjson", headers=headers)


@pytest.mark.usefixtures("unscreened")
def test_the_client_shows_what_of_a_commit_waits(client: Client, repo: Any, alice: Any, caplog: Any):
    for path in ("a.txt", "b.txt"):  # each commit warns, not only the first of a program
        answer = commit(client, alice, path=path)
        with caplog.at_level(logging.WARNING, logger=_http.logger.name):
            _http.logger.addHandler(caplog.handler)
            _http._warn_on_warning_headers(httpx2.Response(200, headers={"X-HF-Warning": answer["X-HF-Warning"]}))
            _http.logger.removeHandler(caplog.handler)
        told = caplog.messages[-1]
        assert told.startswith(
            f"{path} waits for screening. Until it is cleared, only you and the members of alice/tides"
        )
        assert told.endswith(f"/datasets/alice/tides/commit/{answer.json()['commitOid']}")


@pytest.mark.usefixtures("cleared_at_once")
def test_a_commit_that_is_cleared_warns_of_nothing(client: Client, repo: Any, alice: Any):
    assert "X-HF-Warning" not in commit(client, alice)


@pytest.mark.usefixtures("unscreened")
def test_members_read_on_the_card_which_commit_strangers_see(client: Client, repo: Any, alice: Any):
    clear(repo)
    client.force_login(alice.user)
    assert "behind main" not in client.get("/datasets/alice/tides").content.decode()
    add(repo, alice.user, {"b.txt": "Low water\n"})
    page = client.get("/datasets/alice/tides").content.decode()
    assert public_head(repo) != members_head(repo)
    assert f"Strangers see <code>{public_head(repo)[:7]}</code>, 1 commit behind main" in page
    assert 'href="/datasets/alice/tides/hidden"' in page
    client.logout()
    assert "behind main" not in client.get("/datasets/alice/tides").content.decode()
