"""Clearance and the public half: what is not cleared is not there, for anybody who is no member, under any id."""

import pytest

from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head, public_texts, withhold

pytestmark = pytest.mark.django_db


# --- commits


def test_a_commit_is_public_when_its_text_is_cleared(alice, tides):
    before = public_head(tides)
    commit = add(tides, alice.user, {"a.txt": "one"}).commit
    assert public_head(tides) == before and b"one" not in public_texts(tides)
    clear(tides)
    assert public_head(tides) == commit == tides.public_head and b"one" in public_texts(tides)


def test_a_pending_ancestor_holds_its_descendants_back(alice, tides):
    before = public_head(tides)
    first = add(tides, alice.user, {"a.txt": "one"}).commit
    second = add(tides, alice.user, {"b.txt": "two"}).commit
    clear(tides, "b.txt")
    assert public_head(tides) == before and b"two" not in public_texts(tides)
    clear(tides, "a.txt")
    assert public_head(tides) == second and {b"one", b"two"} <= public_texts(tides)
    assert first != second


def test_deleting_a_pending_file_does_not_publish_the_commit_that_had_it(alice, tides):
    before = public_head(tides)
    add(tides, alice.user, {"secret.txt": "hf_key"})
    add(tides, alice.user, {"secret.txt": None, "b.txt": "two"})
    clear(tides, "b.txt")
    assert public_head(tides) == before and public_texts(tides).isdisjoint({b"hf_key", b"two"})


def test_a_withheld_text_that_comes_back_on_another_branch_is_held_there_too(alice, bob, tides):
    from hub.repos.commits import move_ref

    move_ref(repo=tides, ref="refs/heads/dev", new=members_head(tides), expected=None, by=alice.user, door="api")
    add(tides, alice.user, {"secret.txt": "hf_key"})
    withhold(tides, "secret.txt")
    add(tides, bob.user, {"other-name.txt": "hf_key"}, ref="refs/heads/dev")
    assert not tides.contents.filter(path="other-name.txt").exists()  # one fact for these bytes, whatever the name
    assert b"hf_key" not in public_texts(tides)
    assert public_head(tides, "refs/heads/dev") != members_head(tides, "refs/heads/dev")


def test_the_same_bytes_in_another_repository_are_judged_there(alice, tides):
    other = make_repo(alice.user, "currents")
    for repo in (tides, other):
        add(repo, alice.user, {"a.txt": "one"})
    clear(tides)
    assert b"one" in public_texts(tides) and b"one" not in public_texts(other)


def test_each_branch_shows_its_newest_clear_commit(alice, tides):
    from hub.repos.commits import move_ref

    start = members_head(tides)
    move_ref(repo=tides, ref="refs/heads/dev", new=start, expected=None, by=alice.user, door="api")
    shown = add(tides, alice.user, {"a.txt": "one"}, ref="refs/heads/dev").commit
    add(tides, alice.user, {"b.txt": "two"}, ref="refs/heads/dev")
    clear(tides, "a.txt")
    assert (public_head(tides, "refs/heads/dev"), public_head(tides)) == (shown, start)


def test_a_tag_is_public_with_its_commit_and_not_before(alice, tides):
    from hub.repos.commits import move_ref

    commit = add(tides, alice.user, {"a.txt": "one"}).commit
    move_ref(repo=tides, ref="refs/tags/first", new=commit, expected=None, by=alice.user, door="api")
    assert public_head(tides, "refs/tags/first") is None
    clear(tides)
    assert public_head(tides, "refs/tags/first") == commit


def test_a_branch_without_one_clear_commit_is_not_there(alice, unscreened):
    from hub.repos.lifecycle import create_repo

    repo = create_repo(type="model", name="poems", by=alice.user)
    assert public_head(repo) is None and repo.public_head == "" and repo.head


def test_candidates_are_never_public(alice, tides):
    from hub.repos.commits import move_ref

    ref = "refs/convert/candidate_1"
    move_ref(repo=tides, ref=ref, new=members_head(tides), expected=None, by=alice.user, door="hub")
    assert members_head(tides, ref) and public_head(tides, ref) is None


def test_a_strangers_pull_request_is_public_when_it_is_cleared(charlie, tides):
    pull_request = propose(tides, charlie.user, {"a.txt": "one"})
    assert public_head(tides, pull_request.ref) == members_head(tides) and b"one" not in public_texts(tides)
    clear(tides)
    assert public_head(tides, pull_request.ref) == pull_request.head and b"one" in public_texts(tides)


# --- large files


def test_a_large_file_does_not_hold_back_the_commit_that_names_it(alice, tides):
    commit = add_large(tides, alice.user, "training_args.bin", b"\x80\x04pickle")
    clear(tides, "note.txt")
    decide_pointers(tides)
    assert public_head(tides) == commit
    large = tides.contents.get(digest__startswith="sha256:")
    assert large.clearance == "pending" and large.is_large


def test_each_reader_is_given_or_refused_the_bytes_one_by_one(alice, charlie, tides):
    from hub.common.errors import Withheld
    from hub.repos.reader import RepoReader

    commit = add_large(tides, alice.user, "training_args.bin", b"\x80\x04pickle")
    decide_pointers(tides)
    member, stranger = (RepoReader(tides, person.user) for person in (alice, charlie))
    entry = stranger.entry(commit, "training_args.bin")
    assert b"".join(member.read_entry(commit, entry)) == b"\x80\x04pickle"
    with pytest.raises(Withheld, match="training_args.bin in alice/tides is not cleared yet"):
        stranger.read_entry(commit, entry)
    decide_large(tides, "withheld", "It is a pickle; save it as safetensors.")
    with pytest.raises(Withheld, match="is withheld: It is a pickle; save it as safetensors."):
        stranger.read_entry(commit, entry)
    assert b"".join(member.read_entry(commit, entry, 2, 5)) == b"pic"
    decide_large(tides, "cleared")
    assert b"".join(stranger.read_entry(commit, entry, 2, 5)) == b"pic"


def add_large(repo, by, path, data):
    from hub.repos.blobs import record_upload, store
    from hub.storage.git import AddPointer

    stored = store().add([data])
    record_upload(repo=repo, by=by, stored=stored)
    revision = add(repo, by, {}, operations=[AddPointer(path, stored.sha256, stored.size)])
    return revision.commit


def decide_pointers(repo):
    """Clear the text of everything, pointers among it."""
    from hub.repos.clearance import set_clearance

    set_clearance(contents=repo.contents.filter(digest__startswith="git:").select_related("repo"), clearance="cleared")
    repo.refresh_from_db()


def decide_large(repo, clearance, reason=""):
    from hub.repos.clearance import set_clearance

    rows = repo.contents.filter(digest__startswith="sha256:").select_related("repo")
    set_clearance(contents=rows, clearance=clearance, reason=reason)
