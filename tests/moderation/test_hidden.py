"""What keeps a main branch from the public, and making its history clean."""

from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.repos.models import RepoCollaborator
from hub.repos.places import pair
from moderation.models import AuditEntry, Case
from moderation.screening import hidden as room
from moderation.screening.hidden import clean_history, find_hidden, why_not_clean
from tests.moderation.scenes import (
    PICKLE,
    ROWS,
    SECRET,
    Workshop,
    bring,
    content_at,
    is_public_object,
    make_repo,
    reader,
)
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def leaky(alice: Person, bob: Person) -> Any:
    """A good commit, one with a secret, one that removes it and brings more; a pickle too."""
    from hub.community.contributions import commit
    from hub.storage.git import DeleteFile

    repo = make_repo("dataset", "tides", alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, alice.user, {"a.txt": b"first", "old.txt": b"goes later"})
    bring(repo, alice.user, {"keys.txt": SECRET.encode(), "b.txt": b"second"})
    operations = [DeleteFile("keys.txt"), DeleteFile("old.txt")]
    commit(repo=repo, by=alice.user, revision=None, operations=operations, title="Remove", door="tests")
    bring(repo, alice.user, {"train.jsonl": ROWS, "args.bin": PICKLE})
    repo.refresh_from_db()
    return repo


def paths(repo: Any, user: Any = None) -> list[str]:
    who = reader(repo, user)
    return sorted(entry.path for entry in who.tree(who.resolve("main")))


def test_a_removed_secret_still_hides_what_came_after_it(leaky: Any) -> None:
    assert paths(leaky) == [".gitattributes", "a.txt", "old.txt"]
    hidden = find_hidden(leaky)
    assert len(hidden.commits) == 3
    assert [row.path for row in hidden.held] == ["args.bin", "keys.txt"]


def test_a_clean_history_shows_all_that_is_cleared_and_nothing_else(leaky: Any, alice: Person) -> None:
    secret = content_at(leaky, "keys.txt").digest.removeprefix("git:")
    head = leaky.head
    made = clean_history(repo=leaky, by=alice.user)
    leaky.refresh_from_db()
    assert leaky.head == leaky.public_head == made.commit
    assert paths(leaky) == [".gitattributes", "a.txt", "args.bin", "b.txt", "train.jsonl"]
    assert reader(leaky).read_text(made.commit, "train.jsonl") == ROWS.decode()
    assert not is_public_object(leaky, secret) and not is_public_object(leaky, head)
    assert pair(leaky).members.has_commit(head)  # nothing that was stored is lost
    assert pair(leaky).members.refs("refs/convert/") == {}
    assert [row.path for row in find_hidden(leaky).held] == ["args.bin"]
    states = dict(Case.objects.values_list("content__path", "state"))
    assert states == {"keys.txt": "resolved", "args.bin": "open"}
    entry = AuditEntry.objects.get(action="history.cleaned")
    assert entry.is_public and entry.actor == "alice" and entry.data["before"] == head
    with pytest.raises(InvalidInput, match="No text"):
        clean_history(repo=leaky, by=alice.user)


def test_a_clean_history_still_names_who_wrote_it(alice: Person, bob: Person) -> None:
    """The work of others became a commit of whoever pressed the button."""
    repo = make_repo("dataset", "tides", alice.user, {"keys.txt": SECRET.encode()})
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, bob.user, {"b.txt": b"second"})
    made = clean_history(repo=repo, by=alice.user)
    said = pair(repo).members.commit_info(made.commit).message
    assert "Left out: keys.txt" in said and "Co-authored-by: Bob <" in said and "Alice <" not in said


def test_a_secret_that_is_still_there_is_left_out(alice: Person) -> None:
    repo = make_repo("dataset", "tides", alice.user, {"keys.txt": SECRET.encode(), "b.txt": b"second"})
    clean_history(repo=repo, by=alice.user)
    assert paths(repo) == paths(repo, alice.user) == [".gitattributes", "b.txt"]


def test_the_next_commit_is_public_again(leaky: Any, alice: Person) -> None:
    clean_history(repo=leaky, by=alice.user)
    bring(leaky, alice.user, {"c.txt": b"third"})
    assert "c.txt" in paths(leaky)


def test_who_may_make_a_history_clean(leaky: Any, bob: Person, charlie: Person) -> None:
    for person in (bob, charlie):
        with pytest.raises(Forbidden):
            clean_history(repo=leaky, by=person.user)


def test_the_history_of_releases_stays(releasable: Workshop) -> None:
    bring(releasable.model, releasable.owner, {"keys.txt": SECRET.encode()})
    with pytest.raises(InvalidInput, match="belongs to its releases"):
        clean_history(repo=releasable.model, by=releasable.owner)
    releasable.model.refresh_from_db()
    hidden = find_hidden(releasable.model)
    assert hidden.awaiting_release == 1 and [row.path for row in hidden.held] == ["keys.txt"]


def test_a_private_repository_has_nothing_to_clean(alice: Person) -> None:
    mine = make_repo("dataset", "mine", alice.user, {"keys.txt": SECRET.encode()}, is_private=True)
    assert "Nothing of this repository is public" in why_not_clean(mine, find_hidden(mine))


def test_a_commit_at_the_same_moment_is_not_lost(
    leaky: Any, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = room.create_commit

    def be_overtaken(**options: Any) -> Any:
        made = real(**options)
        bring(leaky, bob.user, {"mine.txt": b"mine"})
        return made

    monkeypatch.setattr(room, "create_commit", be_overtaken)
    with pytest.raises(Conflict, match="at the same moment"):
        clean_history(repo=leaky, by=alice.user)
    assert "mine.txt" in paths(leaky, alice.user)
    monkeypatch.undo()
    clean_history(repo=leaky, by=alice.user)
    assert "mine.txt" in paths(leaky)


def test_members_read_and_admins_mend_on_the_page(
    leaky: Any, alice: Person, bob: Person, charlie: Person, browser_of: Any
) -> None:
    place = f"{leaky.path}/hidden"
    assert browser_of(None).get(place).status_code in (302, 401)
    assert browser_of(charlie).get(place).status_code == 403
    page = browser_of(bob).get(place).content.decode()
    assert "keys.txt" in page and "Make the history clean" not in page and "An admin" in page
    assert browser_of(bob).post(place).status_code == 403
    assert "Make the history clean" in browser_of(alice).get(place).content.decode()
    assert browser_of(alice).post(place).status_code == 302
    assert "train.jsonl" in paths(leaky)
    again = browser_of(alice).post(place)
    assert again.status_code == 400 and "No text that is held back" in again.content.decode()
