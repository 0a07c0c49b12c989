import pytest

from tests.hub.api.gates.gated_repo import CARD, SECRET, WEIGHTS
from tests.hub.scenes import make_repo, operations


@pytest.fixture
def gated(alice, cleared_at_once):
    """The gated model alice/tides with a card, a text and a large file."""
    from hub.community.contributions import commit
    from hub.repos.lifecycle import update_settings

    repo = make_repo(alice.user, type="model")
    files = {"README.md": CARD, "rows.jsonl": SECRET, "model.safetensors": WEIGHTS}
    commit(repo=repo, by=alice.user, revision="main", title="Files", door="api", operations=operations(files))
    repo.refresh_from_db()
    return update_settings(repo=repo, by=alice.user, gated="manual")
