"""A name that tools obey is judged when bytes get it, whichever name they had before."""

from typing import Any

import pytest

from hub.repos.places import pair
from moderation.models import Case
from tests.moderation.scenes import (
    ROWS,
    bring,
    content_at,
    make_repo,
    reader,
    run_jobs,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tides(alice: Any) -> Any:
    return make_repo("dataset", "tides", alice.user)


CODE_CONFIG = b'{"model_type": "x", "auto_map": {"AutoModel": "evil.Model"}}\n'
ESCAPE = b"{{ ''.__class__.__mro__[1].__subclasses__() }}\n"


@pytest.mark.parametrize(
    ("harmless", "obeyed", "data"),
    [("notes.json", "config.json", CODE_CONFIG), ("notes.md", "chat_template.jinja", ESCAPE)],
)
def test_a_name_that_tools_obey_is_judged_when_bytes_get_it(
    alice: Any, harmless: str, obeyed: str, data: bytes
) -> None:
    """The same bytes were cleared under a harmless name; a second commit gave them the name that loaders look for."""
    held = make_repo("model", "plain", alice.user, {obeyed: data})
    assert content_at(held, obeyed).clearance == "pending"
    sly = make_repo("model", "sly", alice.user, {harmless: data})
    before = reader(sly).resolve("main")
    bring(sly, alice.user, {obeyed: data})
    run_jobs("moderation.screen_data")
    stranger = reader(sly)
    assert stranger.resolve("main") == before and harmless in [entry.path for entry in stranger.tree(before)]
    head = pair(sly).members.read_ref("refs/heads/main") or ""
    own = reader(sly, alice.user)
    assert own.clearance(head, own.tree(head))[obeyed].reason
    assert Case.objects.filter(repo=sly).exists()


def test_both_names_in_one_commit_are_judged(alice: Any) -> None:
    sly = make_repo("model", "sly", alice.user, {"a-notes.json": CODE_CONFIG, "config.json": CODE_CONFIG})
    run_jobs("moderation.screen_data")
    assert [entry.path for entry in reader(sly).tree(reader(sly).resolve("main"))] == [".gitattributes"]


def test_a_harmless_name_of_another_kind_stays_public(alice: Any, tides: Any) -> None:
    bring(tides, alice.user, {"train.jsonl": ROWS})
    bring(tides, alice.user, {"train.txt": ROWS})
    stranger = reader(tides)
    assert "train.txt" in [entry.path for entry in stranger.tree(stranger.resolve("main"))]


def test_a_stranger_cannot_hide_a_file_by_proposing_it_under_another_name(alice: Any, charlie: Any) -> None:
    repo = make_repo("model", "plain", alice.user, {"notes.json": CODE_CONFIG})
    head = reader(repo).resolve("main")
    bring(repo, charlie.user, {"config.json": CODE_CONFIG}, create_pr=True)
    run_jobs("moderation.screen_data")
    assert reader(repo).resolve("main") == head
