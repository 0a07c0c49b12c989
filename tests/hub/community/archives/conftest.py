from typing import Any

import pytest

from tests.hub.community.archives.packed import put_large
from tests.hub.scenes import clear, make_repo, members_head, propose


@pytest.fixture
def tides(alice: Any, charlie: Any, unscreened: Any) -> Any:
    """A dataset with a large file, a tag, a discussion, an open and a merged proposal and a hidden comment."""
    from hub.community.discussions import comment, create_discussion, hide_comment, rename, set_status
    from hub.community.pull_requests import merge
    from hub.repos.refs import create_tag

    repo = make_repo(alice.user)
    put_large(repo, alice.user)
    create_tag(repo=repo, by=alice.user, name="v0.1", start=members_head(repo))
    talk = create_discussion(repo=repo, by=charlie.user, title="Neap tides", text="How **low**?")
    hidden = comment(discussion=talk, by=charlie.user, text="my phone number")
    hide_comment(discussion=talk, event_id=str(hidden.pk), by=alice.user)
    rename(discussion=talk, by=charlie.user, title="Low neap tides")
    set_status(discussion=talk, by=alice.user, status="closed", text="Six metres.")
    create_discussion(repo=repo, by=charlie.user, title="A key in row 9", text="do not tell", is_private=True)
    merged = propose(repo, alice.user, {"more.csv": "1\n"})
    clear(repo)
    merge(pull_request=merged, by=alice.user)
    propose(repo, alice.user, {"most.csv": "2\n"})
    clear(repo)
    return repo
