"""recipe.lock is the hub's word about what weights were made of: no door takes another one from a person."""

from types import SimpleNamespace
from typing import Any

import pytest

from hub.accounts.people import hub_account
from hub.common.errors import Forbidden
from hub.community.contributions import commit
from hub.repos.places import pair
from hub.storage.git import CopyFile
from tests.hub.scenes import add, make_repo, members_head, operations

pytestmark = pytest.mark.django_db
TRUE, FORGED = '{"repositories": ["rows"]}', '{"repositories": []}'


@pytest.fixture
def model(alice: Any, unscreened: None) -> Any:
    """alice/tides, a model for which the hub wrote a lock."""
    repo = make_repo(alice.user, type="model")
    add(repo, hub_account(), {"recipe.lock": TRUE, "notes.txt": FORGED})
    return repo


def send(repo: Any, person: Any, files: dict[str, str], **more: Any) -> Any:
    given = {"revision": None, "title": "Change", "door": "api", "operations": operations(files), **more}
    return commit(repo=repo, by=person.user, **given)


def push(repo: Any, person: Any, files: dict[str, str], ref: str = "refs/heads/main") -> Any:
    """The judge's word about a commit that lies in quarantine."""
    from hub.community.pushes import PushJudge
    from hub.repos.commits import author_of
    from hub.storage.git import ANY
    from hub.storage.git.wire import RefCommand

    members, head = pair(repo).members, members_head(repo)
    made = members.commit("refs/heads/tmp", operations(files), author=author_of(person.user), message="Push", base=head)
    members.move_ref("refs/heads/tmp", None, ANY)
    judge = PushJudge(repo, person.user, address=str)
    (result,) = judge.judge(SimpleNamespace(repo=members, known=(head,)), [RefCommand(head, made, ref)])
    return result


def test_a_lock_of_ones_own_is_refused_in_a_sentence(alice: Any, charlie: Any, model: Any) -> None:
    head = members_head(model)
    for person, more in ((alice, {}), (charlie, {"create_pr": True})):
        with pytest.raises(Forbidden, match=r"recipe\.lock is written by the hub when it trains; leave yours out"):
            send(model, person, {"recipe.lock": FORGED}, **more)
    copy = [CopyFile("main", "notes.txt", "recipe.lock")]
    with pytest.raises(Forbidden, match="written by the hub"):
        commit(repo=model, by=alice.user, revision=None, operations=copy, title="Copy", door="api")
    assert members_head(model) == head


def test_a_pushed_lock_is_refused_too(alice: Any, charlie: Any, model: Any) -> None:
    for person, ref in ((alice, "refs/heads/main"), (charlie, "refs/for/main")):
        result = push(model, person, {"recipe.lock": FORGED}, ref)
        assert not result.ok and "recipe.lock is written by the hub" in result.refusal
    assert push(model, alice, {"card.txt": "better words"}).ok


def test_the_hubs_own_lock_comes_again(alice: Any, model: Any) -> None:
    """A clone that is sent back whole, or a revert, brings a lock that the hub wrote."""
    send(model, alice, {"recipe.lock": TRUE, "README.md": "# Mine"})
    add(model, hub_account(), {"recipe.lock": '{"repositories": ["more rows"]}'})
    assert push(model, alice, {"recipe.lock": TRUE}).ok


def test_a_lock_from_elsewhere_is_a_file_until_the_hub_writes_one(alice: Any, unscreened: None) -> None:
    brought = make_repo(alice.user, name="brought", type="model")
    send(brought, alice, {"recipe.lock": FORGED})
    rows = make_repo(alice.user, name="rows", type="dataset")
    add(rows, hub_account(), {"recipe.lock": TRUE})
    send(rows, alice, {"recipe.lock": FORGED})
    assert pair(rows).members.read(members_head(rows), "recipe.lock") == FORGED.encode()
