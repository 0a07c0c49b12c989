"""The one entry of all doors that write: who may write where, what becomes a pull request, what is large."""

import hashlib

import pytest

from hub.common.errors import (
    EntryNotFound,
    Forbidden,
    InvalidInput,
    NotFound,
    NotSignedIn,
    RevisionNotFound,
    StaleCommit,
    TooLarge,
    Withheld,
)
from hub.storage.errors import InvalidOperation
from tests.hub.scenes import add, clear, members_head, operations, propose, withhold

pytestmark = pytest.mark.django_db


def send(repo, person, files, **more):
    from hub.community.contributions import commit

    given = {"revision": None, "title": "Change", "door": "api", "operations": operations(files), **more}
    return commit(repo=repo, by=person.user, **given)


@pytest.fixture
def writer(bob, tides):
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=tides, user=bob.user, role="write")
    return bob


# --- branches


def test_a_writer_commits_to_a_branch(writer, tides):
    made = send(tides, writer, {"a.txt": "one"})
    assert (made.ref, made.pull_request, made.revision.author) == ("refs/heads/main", None, writer.user)
    assert made.revision.commit == members_head(tides)
    assert send(tides, writer, {"b.txt": "two"}, revision="refs/heads/main").ref == "refs/heads/main"


def test_a_stranger_is_told_to_open_a_pull_request(charlie, tides):
    before = members_head(tides)
    with pytest.raises(Forbidden, match="may change it; open a pull request"):
        send(tides, charlie, {"a.txt": "one"})
    assert members_head(tides) == before


def test_nobody_writes_without_signing_in(tides):
    from types import SimpleNamespace

    from django.contrib.auth.models import AnonymousUser

    with pytest.raises(NotSignedIn):
        send(tides, SimpleNamespace(user=AnonymousUser()), {"a.txt": "one"})


@pytest.mark.parametrize(
    ("revision", "error"),
    [
        ("nowhere", RevisionNotFound),
        ("refs/convert/candidate_1", Forbidden),
        ("refs/tags/v1", Forbidden),
        ("stable", Forbidden),
        ("refs/pr/99", NotFound),
        ("refs/pr/x", NotFound),
        ("refs/pr/²", NotFound),
    ],
)
def test_only_branches_and_pull_requests_take_commits(writer, tides, revision, error):
    with pytest.raises(error):
        send(tides, writer, {"a.txt": "one"}, revision=revision)


def test_a_stated_parent_must_be_the_head(writer, tides):
    first = members_head(tides)
    send(tides, writer, {"a.txt": "one"}, expected_parent=first)
    with pytest.raises(StaleCommit):
        send(tides, writer, {"b.txt": "two"}, expected_parent=first)


# --- pull requests


def test_anybody_who_reads_proposes(charlie, tides):
    made = send(tides, charlie, {"a.txt": "one"}, create_pr=True, title="Ab", description="From the harbour.")
    discussion = made.pull_request.discussion
    assert (made.ref, discussion.number, discussion.author) == ("refs/pr/1", 1, charlie.user)
    assert discussion.title == "Update: Ab"  # a commit's title may be shorter than a proposal's
    assert [event.kind for event in discussion.events.all()] == ["comment", "commit"]
    assert members_head(tides) == made.pull_request.base


def test_its_author_and_writers_add_to_a_pull_request_and_others_do_not(alice, bob, charlie, tides):
    pull_request = propose(tides, charlie.user, {"a.txt": "one"})
    for number, person in enumerate((charlie, alice)):
        made = send(tides, person, {f"{number}.txt": "more"}, revision="refs/pr/1")
        assert made.pull_request == pull_request
    with pytest.raises(Forbidden, match="refs/pr/1 belongs to its author"):
        send(tides, bob, {"b.txt": "two"}, revision="refs/pr/1")


def test_a_stale_parent_is_refused_in_a_pull_request_too(charlie, tides):
    pull_request = propose(tides, charlie.user, {"a.txt": "one"}, expected_parent=members_head(tides))
    send(tides, charlie, {"b.txt": "two"}, revision="refs/pr/1", expected_parent=pull_request.head)
    for parent in (pull_request.head, pull_request.base):
        with pytest.raises(StaleCommit):
            send(tides, charlie, {"c.txt": "three"}, revision="refs/pr/1", expected_parent=parent)


@pytest.mark.parametrize(("files", "error"), [({"gone.txt": None}, EntryNotFound), ({"../x": "a"}, InvalidOperation)])
def test_a_proposal_that_cannot_be_committed_leaves_no_empty_pull_request(charlie, tides, files, error):
    from hub.community.models import Discussion
    from hub.repos.models import PendingWrite
    from hub.repos.places import pair

    with pytest.raises(error):
        send(tides, charlie, files, create_pr=True)
    assert not Discussion.objects.exists() and not PendingWrite.objects.exists()
    assert not pair(tides).members.refs("refs/pr/")


def test_a_proposal_with_a_stale_parent_leaves_none_either(alice, charlie, tides):
    from hub.community.models import Discussion

    stale = members_head(tides)
    add(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    with pytest.raises(StaleCommit):
        send(tides, charlie, {"b.txt": "two"}, create_pr=True, expected_parent=stale)
    assert not Discussion.objects.exists()


def test_a_strangers_proposal_stands_on_what_they_see(alice, charlie, tides):
    shown = members_head(tides)
    add(tides, alice.user, {"hidden.txt": "pending"})
    assert propose(tides, charlie.user, {"a.txt": "one"}).base == shown
    assert propose(tides, alice.user, {"b.txt": "two"}).base == members_head(tides)


def test_a_target_that_is_not_there_is_refused_before_anything_is_stored(charlie, tides):
    from hub.community.models import Discussion

    with pytest.raises(InvalidInput, match="no branch 'nowhere' in alice/tides that you could propose a change to"):
        send(tides, charlie, {"a.txt": "one"}, revision="nowhere", create_pr=True)
    assert not Discussion.objects.exists()


# --- what is in a commit


def test_big_and_binary_files_go_to_the_byte_store(writer, tides, settings):
    from hub.repos.places import pair, store

    settings.MAX_REGULAR_FILE_BYTES = 10
    made = send(tides, writer, {"a.txt": "more than ten bytes", "b.txt": "short", "c.bin": b"\0\1"})
    entries = {entry.path: entry for entry in pair(tides).members.tree(made.revision.commit)}
    assert entries["b.txt"].lfs is None
    for path, data in (("a.txt", b"more than ten bytes"), ("c.bin", b"\0\1")):
        assert entries[path].lfs.sha256 == hashlib.sha256(data).hexdigest()
        assert b"".join(store().read(entries[path].lfs.sha256)) == data


@pytest.fixture
def foreign(alice, unscreened):
    """A file in a private repository of Alice: its digest and size, which somebody else came to know."""
    from hub.repos.blobs import record_upload, store
    from tests.hub.scenes import make_repo

    diary = make_repo(alice.user, "diary", is_private=True)
    stored = store().add([b"a private weight"])
    record_upload(repo=diary, by=alice.user, stored=stored)
    return stored


def test_naming_a_digest_proves_nothing(charlie, tides, foreign):
    from hub.storage.git import AddPointer

    pointer = AddPointer("w.bin", foreign.sha256, foreign.size)
    with pytest.raises(InvalidInput, match="was not uploaded to alice/tides by you; upload it first"):
        send(tides, charlie, {}, operations=[pointer], create_pr=True)


def test_nor_does_a_pointer_that_is_sent_as_text(charlie, tides, foreign):
    """A regular file with the text of a pointer once stood for the large file it names."""
    from hub.community.models import Discussion
    from hub.storage.git import format_pointer

    text = format_pointer(foreign.sha256, foreign.size)
    with pytest.raises(InvalidInput, match="was not uploaded to alice/tides by you"):
        send(tides, charlie, {"w.txt": text}, create_pr=True)
    assert not Discussion.objects.exists()


def test_who_has_shown_the_bytes_may_commit_them_by_name_and_only_with_their_size(writer, tides):
    from hub.repos.blobs import record_upload, store
    from hub.storage.git import AddPointer, format_pointer

    stored = store().add([b"weights"])
    record_upload(repo=tides, by=writer.user, stored=stored)
    with pytest.raises(InvalidInput, match="has 7 bytes, not 8"):
        send(tides, writer, {}, operations=[AddPointer("w.bin", stored.sha256, 8)])
    send(tides, writer, {}, operations=[AddPointer("w.bin", stored.sha256, 7)])
    send(tides, writer, {"w2.bin": format_pointer(stored.sha256, 7)})
    assert tides.contents.get(digest=f"sha256:{stored.sha256}").path == "w.bin"


def test_a_file_is_copied_from_what_the_person_may_read(alice, charlie, tides):
    from hub.storage.git import CopyFile

    shown = add(tides, alice.user, {"a.txt": "one"}).commit
    clear(tides)
    hidden = add(tides, alice.user, {"b.txt": "pending"}).commit
    made = send(tides, charlie, {}, operations=[CopyFile(shown, "a.txt", "copy.txt")], create_pr=True)
    assert [row.content.path for row in made.revision.brought.all()] == ["a.txt"]  # known bytes, judged already
    with pytest.raises(RevisionNotFound):
        send(tides, charlie, {}, operations=[CopyFile(hidden, "b.txt", "copy.txt")], create_pr=True)


def test_withheld_bytes_are_not_copied_by_strangers(alice, charlie, tides):
    from hub.storage.git import CopyFile

    commit = send(tides, alice, {"w.bin": b"\0\1"}).revision.commit
    clear(tides)
    large = tides.contents.get(digest__startswith="sha256:")
    withhold(tides, large.path)
    clear_pointers(tides)
    with pytest.raises(Withheld):
        send(tides, charlie, {}, operations=[CopyFile(commit, "w.bin", "copy.bin")], create_pr=True)


def clear_pointers(repo):
    from hub.repos.clearance import set_clearance

    set_clearance(contents=repo.contents.filter(digest__startswith="git:").select_related("repo"), clearance="cleared")


def test_a_commit_is_bounded(writer, tides, monkeypatch):
    from hub.community import contributions

    monkeypatch.setattr(contributions, "MAX_OPERATIONS", 2)
    with pytest.raises(TooLarge, match="at most 2 operations; split this one of 3"):
        send(tides, writer, {f"{number}.txt": "x" for number in range(3)})
