"""Commits: one way in for all doors. Nothing is lost, nothing is half there, and credit goes to who was signed in."""

import pytest

from hub.common.errors import Conflict, EntryNotFound, InvalidInput, StaleCommit
from tests.hub.scenes import add, clear, members_head, public_head

pytestmark = pytest.mark.django_db


def paths_at(repo, commit):
    from hub.repos.places import pair

    return {entry.path for entry in pair(repo).members.tree(commit, recursive=True) if entry.type == "file"}


def table(repo):
    """path -> title, as listings show the last change."""
    return dict(repo.last_commits.values_list("path", "title"))


# --- one commit


def test_a_commit_adds_changes_and_deletes_and_is_credited(alice, bob, tides):
    add(
        tides,
        alice.user,
        {"a.txt": "one", "data/b.txt": "two"},
        title="Add  two\nfiles",
        description="From the harbour.",
    )
    revision = add(tides, bob.user, {"a.txt": "ONE", "data/b.txt": None}, title="Mend", door="web")
    assert paths_at(tides, revision.commit) == {".gitattributes", "a.txt"}
    assert (revision.author, revision.door, revision.ref) == (bob.user, "web", "refs/heads/main")
    assert revision.parents == [tides.revisions.get(title="Add two files").commit]
    tides.refresh_from_db()
    assert tides.head == revision.commit == members_head(tides)
    assert {row.content.path for row in revision.brought.all()} == {"a.txt"}


def test_the_same_bytes_are_one_content_whoever_brings_them_again(alice, bob, tides):
    add(tides, alice.user, {"a.txt": "one"})
    revision = add(tides, bob.user, {"copy.txt": "one"})
    content = tides.contents.get(path="a.txt")
    assert content.added_by == alice.user and not tides.contents.filter(path="copy.txt").exists()
    assert [row.content for row in revision.brought.all()] == [content]


def test_git_names_an_address_that_is_nobodys_mailbox(alice, tides):
    from hub.repos.places import pair

    info = pair(tides).members.commit_info(add(tides, alice.user, {"a.txt": "one"}).commit)
    assert (info.author.name, info.author.email) == ("Alice", "alice@users.noreply.model-commons.org")


def test_a_stale_stated_parent_is_refused_and_nothing_moves(alice, tides):
    from hub.repos.models import PendingWrite

    first = members_head(tides)
    second = add(tides, alice.user, {"a.txt": "one"}, expected_parent=first).commit
    with pytest.raises(StaleCommit, match="main of alice/tides has moved since") as refusal:
        add(tides, alice.user, {"a.txt": "two"}, expected_parent=first)
    assert refusal.value.status == 412
    assert members_head(tides) == second and not PendingWrite.objects.exists()


def test_without_a_stated_parent_it_goes_on_top_of_whatever_is_there(alice, bob, tides):
    add(tides, alice.user, {"a.txt": "one"})
    revision = add(tides, bob.user, {"b.txt": "two"})
    assert paths_at(tides, revision.commit) == {".gitattributes", "a.txt", "b.txt"}


@pytest.mark.parametrize(
    ("files", "error"),
    [({"missing.txt": None}, EntryNotFound), ({"../x": "a"}, InvalidInput), ({".git/config": "a"}, InvalidInput)],
)
def test_a_commit_that_cannot_be_made_leaves_no_trace(alice, tides, files, error):
    from hub.repos.models import PendingWrite

    before = members_head(tides)
    with pytest.raises(error):
        add(tides, alice.user, {"a.txt": "one"} | files)
    assert members_head(tides) == before and tides.revisions.count() == 1
    assert not PendingWrite.objects.exists()


def test_a_listener_that_breaks_does_not_break_the_commit(alice, tides, caplog):
    from hub.repos.events import branch_moved, revision_created

    def break_down(**_):
        raise RuntimeError("the listener broke")

    for signal in (revision_created, branch_moved):
        signal.connect(break_down)
    try:
        revision = add(tides, alice.user, {"a.txt": "one"})
    finally:
        for signal in (revision_created, branch_moved):
            signal.disconnect(break_down)
    assert members_head(tides) == revision.commit and caplog.text.count("the listener broke") >= 2
    assert tides.contents.get(path="a.txt").clearance == "pending"


def test_a_ref_is_moved_by_compare_and_swap(alice, tides):
    from hub.repos.commits import move_ref

    head = members_head(tides)
    move_ref(repo=tides, ref="refs/heads/dev", new=head, expected=None, by=alice.user, door="api")
    with pytest.raises(Conflict, match="refs/heads/dev of alice/tides was moved by somebody else"):
        move_ref(repo=tides, ref="refs/heads/dev", new=head, expected=None, by=alice.user, door="api")
    move_ref(repo=tides, ref="refs/heads/dev", new=None, expected=head, by=alice.user, door="api")
    assert members_head(tides, "refs/heads/dev") is None and public_head(tides, "refs/heads/dev") is None


# --- crashes and races, one step at a time


@pytest.fixture
def dies(monkeypatch):
    """`with dies(): ...` kills the process, as it were, after git has moved and before there are rows."""
    from contextlib import contextmanager

    from hub.repos import commits

    @contextmanager
    def die():
        def crash(**_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(commits, "register_commits", crash)
            yield

    return die


def test_what_a_crash_left_between_git_and_the_rows_is_finished(alice, tides, dies):
    from hub.repos.commits import reconcile
    from hub.repos.models import PendingWrite

    with dies():
        add(tides, alice.user, {"a.txt": "one"}, door="web")
    commit = members_head(tides)
    assert not tides.revisions.filter(commit=commit).exists() and public_head(tides) != commit
    assert reconcile(older_than_s=3600) == []  # it may still be at work
    assert [note.ref for note in reconcile(older_than_s=0)] == ["refs/heads/main"]
    revision = tides.revisions.get(commit=commit)
    assert (revision.author, revision.door) == (alice.user, "web")
    assert not PendingWrite.objects.exists() and reconcile(older_than_s=0) == []
    clear(tides)
    assert public_head(tides) == commit and table(tides)["a.txt"] == "Change files"


def test_of_two_who_died_at_one_branch_each_gets_their_own_credit(alice, bob, tides, dies):
    from hub.repos.commits import reconcile

    with dies():
        add(tides, alice.user, {"a.txt": "one"})
    first = members_head(tides)
    with dies():
        add(tides, bob.user, {"b.txt": "two"})
    second = members_head(tides)
    reconcile(older_than_s=0)
    authors = dict(tides.revisions.values_list("commit", "author__username"))
    assert (authors[first], authors[second]) == ("alice", "bob")
    assert tides.contents.get(path="b.txt").added_by == bob.user


def test_who_commits_on_top_of_an_unfinished_commit_does_not_get_its_credit(alice, bob, tides, dies):
    from hub.repos.commits import reconcile

    with dies():
        add(tides, alice.user, {"a.txt": "one"})
    first = members_head(tides)
    second = add(tides, bob.user, {"b.txt": "two"}).commit
    clear(tides)
    assert public_head(tides) not in (first, second)  # its ancestor is unknown yet
    reconcile(older_than_s=0)
    clear(tides)
    authors = dict(tides.revisions.values_list("commit", "author__username"))
    assert (authors[first], authors[second]) == ("alice", "bob")
    assert public_head(tides) == second


def test_finishing_twice_is_finishing_once(alice, tides, dies):
    from hub.repos.commits import reconcile, register_commits

    with dies():
        add(tides, alice.user, {"a.txt": "one"})
    reconcile(older_than_s=0)
    before = list(tides.revisions.values()), list(tides.contents.values())
    register_commits(repo=tides, ref="refs/heads/main", old=None, new=members_head(tides), by=None, door="git")
    assert (list(tides.revisions.values()), list(tides.contents.values())) == before


# --- the last change of each path


def test_each_path_and_folder_knows_its_last_change(alice, tides):
    add(tides, alice.user, {"a.txt": "one", "data/raw/b.txt": "two"}, title="First")
    add(tides, alice.user, {"data/c.txt": "three"}, title="Second")
    add(tides, alice.user, {"a.txt": None}, title="Third")
    assert table(tides) == {
        ".gitattributes": "initial commit",
        "data": "Second",
        "data/raw": "First",
        "data/raw/b.txt": "First",
        "data/c.txt": "Second",
    }


def test_a_file_that_became_a_folder_keeps_its_row(alice, tides):
    add(tides, alice.user, {"data": "one", "old/b.txt": "two"}, title="First")
    add(tides, alice.user, {"data": None, "data/a.txt": "three", "old/b.txt": None}, title="Second")
    assert table(tides) == {".gitattributes": "initial commit", "data": "Second", "data/a.txt": "Second"}


def test_commits_that_arrive_together_are_told_apart(alice, tides):
    """A push of three commits once showed the title of the last one at every file."""
    from hub.repos.commits import register_commits

    old = members_head(tides)
    new = old
    for number in (1, 2, 3):
        new = commit_in_git(tides, {f"{number}.txt": str(number)}, f"Commit {number}")
    register_commits(repo=tides, ref="refs/heads/main", old=old, new=new, by=alice.user, door="git")
    assert {f"{n}.txt": f"Commit {n}" for n in (1, 2, 3)}.items() <= table(tides).items()


def test_a_later_change_is_not_hidden_by_one_that_was_registered_late(alice, tides):
    from hub.repos.commits import register_commits

    old = members_head(tides)
    first = commit_in_git(tides, {"a.txt": "1", "b.txt": "1"}, "First")
    second = commit_in_git(tides, {"a.txt": "2"}, "Second")
    for before, after in ((first, second), (old, first)):
        register_commits(repo=tides, ref="refs/heads/main", old=before, new=after, by=alice.user, door="git")
    assert (table(tides)["a.txt"], table(tides)["b.txt"]) == ("Second", "First")


def test_a_rewritten_branch_starts_the_table_anew(alice, tides):
    from hub.repos.commits import move_ref

    first = add(tides, alice.user, {"a.txt": "one"}, title="First").commit
    add(tides, alice.user, {"b.txt": "two"}, title="Second")
    move_ref(repo=tides, ref="refs/heads/main", new=first, expected=members_head(tides), by=alice.user, door="git")
    assert table(tides) == {".gitattributes": "initial commit", "a.txt": "First"}


def test_a_push_that_touches_more_than_the_table_takes_leaves_it_to_the_reader(alice, tides, monkeypatch):
    from hub.repos import commits
    from hub.repos.reader import RepoReader

    monkeypatch.setattr(commits, "MAX_LAST_COMMIT_PATHS", 2)
    add(tides, alice.user, {f"{number}.txt": "x" for number in range(3)}, title="Many")
    assert table(tides) == {}
    reader = RepoReader(tides, alice.user)
    assert reader.last_changes(reader.resolve(), ["1.txt"])["1.txt"].title == "Many"


def commit_in_git(repo, files, message):
    """As a push leaves it: commits in git, no rows yet. Returns the commit's id."""
    from hub.repos.commits import author_of
    from hub.repos.places import pair
    from tests.hub.scenes import operations

    author = author_of(repo.owner)
    return pair(repo).members.commit("refs/heads/main", operations(files), author=author, message=message)


def test_a_title_of_any_bytes_is_kept_without_what_no_database_takes(alice, tides):
    from hub.repos.commits import register_commits

    old = members_head(tides)
    new = commit_in_git(tides, {"a.txt": "1"}, "Tide " + "x" * 400)
    register_commits(repo=tides, ref="refs/heads/main", old=old, new=new, by=alice.user, door="git")
    assert len(tides.revisions.get(commit=new).title) == 300 == len(table(tides)["a.txt"])


# --- many at once


@pytest.mark.django_db(transaction=True)
def test_commits_that_race_for_one_branch_are_all_there_each_with_its_author(alice, bob, charlie, tides):
    from hub.repos.models import PendingWrite
    from tests.beside import at_once

    people = [alice, bob, charlie, alice, bob, charlie]
    tasks = [
        lambda number=number, person=person: add(
            tides, person.user, {f"{number}.txt": person.name}, title=f"No. {number}"
        )
        for number, person in enumerate(people)
    ]
    made = at_once(*tasks)
    assert [revision.author.username for revision in made] == [person.name for person in people]
    clear(tides)
    head = members_head(tides)
    assert paths_at(tides, head) == {".gitattributes", *(f"{number}.txt" for number in range(6))}
    credited = dict(tides.revisions.values_list("commit", "author__username"))
    assert [credited[revision.commit] for revision in made] == [person.name for person in people]
    assert {path: title for path, title in table(tides).items() if path[0].isdigit()} == {
        f"{number}.txt": f"No. {number}" for number in range(6)
    }
    assert public_head(tides) == head and tides.head == head and not PendingWrite.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_commits_that_state_the_same_parent_one_is_made_and_the_others_are_told(alice, tides):
    from tests.beside import at_once

    parent = members_head(tides)
    made = at_once(
        *(
            lambda number=number: add(tides, alice.user, {"a.txt": str(number)}, expected_parent=parent)
            for number in range(4)
        )
    )
    refused = [one for one in made if isinstance(one, Exception)]
    assert len(refused) == 3 and {type(one) for one in refused} == {StaleCommit}
