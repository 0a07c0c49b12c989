"""What one person may see of one repository: every door reads through this."""

import pytest

from hub.common.errors import EntryNotFound, InvalidInput, RevisionNotFound, TooLarge
from tests.hub.scenes import add, clear, members_head, propose, public_head, withhold

pytestmark = pytest.mark.django_db


def reader_of(repo, person):
    from django.contrib.auth.models import AnonymousUser

    from hub.community.contributions import reader_for

    repo.refresh_from_db()
    return reader_for(repo, person.user if person else AnonymousUser())


@pytest.fixture
def mixed(alice, tides):
    """Cleared a.txt, and on top of it pending b.txt."""
    tides.shown = add(tides, alice.user, {"data/a.txt": "one\ntwo\n"}, title="Shown").commit
    clear(tides)
    tides.hidden = add(tides, alice.user, {"data/b.txt": "secret"}, title="Not to be told").commit
    return tides


# --- revisions


def test_members_stand_at_the_head_and_strangers_at_the_newest_cleared_commit(mixed, alice, charlie):
    assert reader_of(mixed, alice).resolve() == mixed.hidden
    for person in (charlie, None):
        reader = reader_of(mixed, person)
        assert reader.resolve() == reader.resolve("main") == reader.resolve("refs/heads/main") == mixed.shown
        assert reader.resolve(mixed.shown) == mixed.shown


def test_a_moderator_reads_what_members_read(mixed):
    from tests.people import make_person

    assert reader_of(mixed, make_person("mona", is_moderator=True)).resolve() == mixed.hidden


def test_an_abbreviated_id_is_found_among_what_its_reader_may_see(mixed, alice, charlie):
    from hub.repos.models import Revision

    member, stranger, shown, hidden = reader_of(mixed, alice), reader_of(mixed, charlie), mixed.shown, mixed.hidden
    for length in (7, 39):
        assert member.find_abbreviated(shown[:length]) == stranger.find_abbreviated(shown[:length]) == shown
    assert (member.find_abbreviated(hidden[:7]), stranger.find_abbreviated(hidden[:7])) == (hidden, None)
    for name in (shown[:6], shown, shown[:7].upper() + "G", "0000000"):
        assert member.find_abbreviated(name) is None
    # What is hidden makes nothing ambiguous, else a stranger could guess ids digit by digit.
    twin = shown[:8] + ("0" if shown[8] != "0" else "1") + shown[9:]
    Revision.objects.create(repo=mixed, commit=twin, door="api", ref="refs/heads/main")
    assert stranger.find_abbreviated(shown[:7]) == shown
    member.git.has_commit = lambda oid: oid in (shown, twin)
    assert (member.find_abbreviated(shown[:7]), member.find_abbreviated(shown[:9])) == (None, shown)


def test_a_pending_commit_is_no_revision_for_strangers_in_any_way_of_asking(mixed, alice, charlie):
    from hub.repos.commits import move_ref

    for ref in ("refs/tags/t", "refs/heads/b", "refs/convert/candidate_9"):
        move_ref(repo=mixed, ref=ref, new=mixed.hidden, expected=None, by=alice.user, door="api")
    for person in (charlie, None):
        reader = reader_of(mixed, person)
        for name in (
            mixed.hidden,
            mixed.hidden[:10],
            "t",
            "refs/tags/t",
            "refs/convert/candidate_9",
            "refs/heads/main~0",
        ):
            with pytest.raises(RevisionNotFound):
                reader.resolve(name)
        assert set(reader.refs()) == {"refs/heads/main", "refs/heads/b"} and mixed.hidden not in reader.refs().values()
        with pytest.raises(EntryNotFound):
            reader.entry(reader.resolve(), "data/b.txt")


def test_a_missing_revision_tells_strangers_that_it_may_not_be_cleared(mixed, alice, charlie):
    with pytest.raises(RevisionNotFound, match="'nowhere' in alice/tides\\.$"):
        reader_of(mixed, alice).resolve("nowhere")
    with pytest.raises(RevisionNotFound, match="or it is not cleared for the public yet"):
        reader_of(mixed, charlie).resolve("nowhere")


def test_the_author_of_a_pull_request_reads_it_before_it_is_cleared(mixed, charlie, bob):
    pull_request = propose(mixed, charlie.user, {"c.txt": "three"})
    mine = reader_of(mixed, charlie)
    assert mine.resolve(pull_request.ref) == pull_request.head == mine.resolve(pull_request.head)
    assert mine.read_text(pull_request.head, "c.txt") == "three"
    assert mine.refs()[pull_request.ref] == pull_request.head
    assert [info.oid for info in mine.history(pull_request.head)][:2] == [pull_request.head, mixed.shown]
    for person in (bob, None):
        reader = reader_of(mixed, person)
        assert reader.resolve(pull_request.ref) == mixed.shown  # what is public of it: nothing of its own yet
        with pytest.raises(RevisionNotFound):
            reader.resolve(pull_request.head)
    with pytest.raises(RevisionNotFound):
        mine.resolve(mixed.hidden)  # their own is no key to what members wrote


def test_the_longest_name_that_is_a_revision_wins(alice, tides):
    from hub.repos.commits import move_ref

    for name in ("dev", "feature/tides"):
        head = members_head(tides)
        move_ref(repo=tides, ref=f"refs/heads/{name}", new=head, expected=None, by=alice.user, door="api")
    reader = reader_of(tides, alice)
    assert reader.resolve_longest("feature/tides/data/a.txt")[::2] == ("feature/tides", "data/a.txt")
    assert reader.resolve_longest("dev")[::2] == ("dev", "")
    with pytest.raises(RevisionNotFound, match="'feature'"):
        reader.resolve_longest("feature/other/a.txt")


def test_stable_is_the_newest_published_release(mixed, alice, charlie):
    from hub.repos.models import RepoRelease
    from tests.guards import set_shown_state, show_release

    reader = reader_of(mixed, charlie)
    for name in ("stable", "candidate"):
        with pytest.raises(RevisionNotFound):
            reader.resolve(name)
    release = show_release(mixed, commit=mixed.shown)
    assert reader.resolve("stable") == mixed.shown
    set_shown_state(release, RepoRelease.State.YANKED)
    with pytest.raises(RevisionNotFound):
        reader.resolve("stable")


# --- files


def test_folders_and_files_are_listed_and_read(mixed, charlie):
    reader = reader_of(mixed, charlie)
    commit = reader.resolve()
    assert [entry.path for entry in reader.tree(commit)] == [".gitattributes", "data"]
    assert [entry.path for entry in reader.tree(commit, "data/", recursive=True)] == ["data/a.txt"]
    entry = reader.entry(commit, "/data/a.txt")
    assert (entry.type, entry.size) == ("file", 8)
    assert b"".join(reader.read_entry(commit, entry, 4, 7)) == b"two"
    assert reader.read_text(commit, "data/a.txt") == "one\ntwo\n"


def test_what_is_not_there_says_where_it_was_looked_for(mixed, charlie):
    reader = reader_of(mixed, charlie)
    commit = reader.resolve()
    for ask in (reader.entry, reader.tree):
        with pytest.raises(EntryNotFound, match="There is no 'data/x.txt' in alice/tides at") as refusal:
            ask(commit, "data/x.txt")
        assert refusal.value.headers == {"X-Repo-Commit": commit}


def test_a_folder_or_a_large_file_is_not_read_as_text(mixed, charlie):
    reader = reader_of(mixed, charlie)
    with pytest.raises(InvalidInput, match="'data' is a folder"):
        reader.read_text(reader.resolve(), "data")
    with pytest.raises(TooLarge, match="data/a.txt has 8 bytes; here at most 4 are read"):
        reader.read_text(reader.resolve(), "data/a.txt", limit=4)


# --- last changes


def test_a_listing_names_the_last_change_of_each_file(mixed, alice):
    reader = reader_of(mixed, alice)
    found = reader.last_changes(mixed.hidden, ["data", "data/a.txt", "data/b.txt"])
    titles = {path: change.title for path, change in found.items()}
    assert titles == {"data": "Not to be told", "data/a.txt": "Shown", "data/b.txt": "Not to be told"}
    older = reader.last_changes(mixed.shown, [".gitattributes", "data", "data/a.txt", "data/b.txt"])  # not in the table
    assert {path: change.title for path, change in older.items()} == {
        ".gitattributes": "initial commit", "data": "Shown", "data/a.txt": "Shown",
    }  # fmt: skip
    below = reader.last_changes(mixed.shown, ["data/a.txt"])
    assert [change.title for change in below.values()] == ["Shown"]


def test_last_changes_for_strangers_never_name_a_pending_commit(mixed, charlie):
    reader = reader_of(mixed, charlie)
    found = reader.last_changes(mixed.shown, [".gitattributes", "data", "data/a.txt", "data/b.txt"])
    assert {path: change.title for path, change in found.items()} == {
        ".gitattributes": "initial commit",
        "data": "Shown",
        "data/a.txt": "Shown",
    }


def test_not_even_while_the_table_is_a_step_ahead_of_the_head(mixed, charlie):
    """The table follows the members' branch before the row of the repository does."""
    from hub.repos.models import Repo

    Repo.objects.filter(pk=mixed.pk).update(head=mixed.shown)
    found = reader_of(mixed, charlie).last_changes(mixed.shown, ["data", "data/a.txt", "data/b.txt"])
    assert {change.oid for change in found.values()} == {mixed.shown}


def test_nor_after_a_withdrawal(mixed, alice, charlie):
    clear(mixed)
    assert public_head(mixed) == mixed.hidden
    withhold(mixed, "data/b.txt")
    reader = reader_of(mixed, charlie)
    found = reader.last_changes(reader.resolve(), ["data", "data/a.txt"])
    assert {change.oid for change in found.values()} == {mixed.shown}


def test_a_listing_of_many_files_costs_one_query(alice, tides, django_assert_num_queries):
    add(tides, alice.user, {f"{number}.txt": "x" for number in range(50)})
    clear(tides)
    paths = [f"{number}.txt" for number in range(50)]
    for person in (alice, None):
        reader = reader_of(tides, person)
        commit = reader.resolve()
        with django_assert_num_queries(1):  # the table
            assert len(reader.last_changes(commit, paths)) == 50


# --- what waits


def test_members_see_what_waits_and_why_and_others_get_nothing(mixed, alice, charlie):
    withhold(mixed, "data/b.txt", reason="It holds a key.")
    member = reader_of(mixed, alice)
    entries = member.tree(mixed.hidden, recursive=True)
    facts = member.clearance(mixed.hidden, entries)
    assert {path: fact.clearance for path, fact in facts.items()} == {
        ".gitattributes": "cleared",
        "data/a.txt": "cleared",
        "data/b.txt": "withheld",
    }
    assert [content.reason for content in member.waiting(mixed.hidden)] == ["It holds a key."]
    assert reader_of(mixed, charlie).clearance(mixed.shown, entries) == {}


def test_the_facts_of_a_listing_cost_one_query(alice, tides, django_assert_num_queries):
    add(tides, alice.user, {f"{number}.txt": str(number) for number in range(50)})
    reader = reader_of(tides, alice)
    entries = reader.tree(reader.resolve())
    with django_assert_num_queries(1):
        assert len(reader.clearance(reader.resolve(), entries)) == 51


def test_a_member_is_told_only_what_is_not_cleared(mixed, alice, charlie, django_assert_num_queries):
    reader = reader_of(mixed, alice)
    entries = reader.tree(mixed.hidden, recursive=True)
    assert {path: fact.clearance for path, fact in reader.uncleared(mixed.hidden, entries).items()} == {
        "data/b.txt": "pending"
    }
    assert reader_of(mixed, charlie).uncleared(mixed.shown, entries) == {}
    clear(mixed)
    with django_assert_num_queries(1):
        assert reader.uncleared(mixed.hidden, entries) == {}


def test_large_files_hide_only_from_strangers_and_only_while_they_wait(alice, charlie, tides):
    from hub.repos.models import Content

    add(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    assert not reader_of(tides, charlie).hides_large_files()
    waiting = Content.objects.create(repo=tides, digest=f"sha256:{'a' * 64}", path="a.bin")
    assert reader_of(tides, charlie).hides_large_files() and not reader_of(tides, alice).hides_large_files()
    clear(tides, waiting.path)
    assert not reader_of(tides, charlie).hides_large_files()
