"""Repositories begin, change name and settings, and end."""

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, RepoNotFound, TooLarge
from tests.hub.scenes import add, clear, make_repo, members_head, public_head, public_texts

pytestmark = pytest.mark.django_db


# --- begin


def test_a_new_repository_has_one_commit_with_the_rules_for_large_files(alice, unscreened):
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import PendingWrite
    from hub.repos.places import pair

    repo = create_repo(type="model", name="Poems", by=alice.user, description="Verses")
    entries = pair(repo).members.tree(repo.head)
    assert [entry.path for entry in entries] == [".gitattributes"]
    assert b"*.safetensors filter=lfs" in pair(repo).members.read(repo.head, ".gitattributes")
    revision = repo.revisions.get()
    assert (revision.commit, revision.author, revision.title) == (repo.head, alice.user, "initial commit")
    assert (repo.full_name, repo.path, repo.description) == ("alice/Poems", "/alice/Poems", "Verses")
    assert not PendingWrite.objects.exists()


def test_a_name_that_exists_is_a_conflict_that_tells_the_address(alice, tides):
    from hub.repos.lifecycle import create_repo

    with pytest.raises(Conflict) as refusal:
        create_repo(type="dataset", name="TIDES", by=alice.user)
    assert refusal.value.extra["url_path"] == "/datasets/alice/tides"
    assert create_repo(type="model", name="tides", by=alice.user).path == "/alice/tides"  # another type is another list


def test_a_former_name_stays_taken(alice, tides):
    from hub.repos.lifecycle import create_repo, move_repo

    move_repo(repo=tides, to="alice/currents", by=alice.user)
    with pytest.raises(Conflict) as refusal:
        create_repo(type="dataset", name="tides", by=alice.user)
    assert refusal.value.extra["url_path"] == "/datasets/alice/currents"


def test_an_organization_that_prefers_private_gets_private_repositories(alice, bob, organization):
    from hub.repos.lifecycle import create_repo

    organization.is_private_by_default = True
    organization.save()
    assert create_repo(type="model", name="a", by=bob.user, owner=organization).is_private
    assert not create_repo(type="model", name="b", by=bob.user, owner=organization, is_private=False).is_private
    assert not create_repo(type="model", name="a", by=bob.user).is_private


def test_nobody_begins_one_in_a_namespace_of_others(alice, charlie, organization):
    from hub.repos.lifecycle import create_repo, owner_for

    with pytest.raises(Forbidden):
        create_repo(type="model", name="mine", by=charlie.user, owner=organization)
    for name in ("alice", "nobody-here"):
        with pytest.raises(Forbidden, match="You don't have the rights to create a repository under the namespace"):
            owner_for(name, charlie.user)
    assert [owner_for(name, alice.user) for name in (None, "", "ALICE", "tidewatch")] == [
        *[alice.user] * 3,
        organization,
    ]


@pytest.mark.parametrize("given", [{"type": "kernel"}, {"name": "a--b"}, {"name": "a/b"}, {"name": ""}])
def test_a_wrong_type_or_name_leaves_nothing_behind(alice, settings, given):
    from hub.repos.lifecycle import create_repo
    from hub.repos.models import Repo

    with pytest.raises(InvalidInput):
        create_repo(**({"type": "model", "name": "poems", "by": alice.user} | given))
    assert not Repo.objects.exists() and not list(settings.DATA_DIR.glob("git/*/*"))


def test_a_crash_right_after_the_row_leaves_a_repository_that_is_finished_later(alice, unscreened, monkeypatch):
    from hub.repos import lifecycle
    from hub.repos.commits import reconcile
    from hub.repos.models import Repo

    def crash(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lifecycle, "register_commits", crash)
        lifecycle.create_repo(type="model", name="poems", by=alice.user)
    repo = Repo.objects.get()
    assert members_head(repo) and not repo.revisions.exists()
    assert len(reconcile(older_than_s=0)) == 1
    clear(repo)
    assert repo.revisions.get().author == alice.user and repo.public_head == members_head(repo)
    add(repo, alice.user, {"a.txt": "one"})


# --- change


def test_a_moved_repository_is_found_by_both_names(alice, tides, charlie):
    from hub.repos.find import find_repo
    from hub.repos.lifecycle import move_repo

    move_repo(repo=tides, to="alice/Currents", by=alice.user)
    for name in ("alice/currents", "alice/tides"):
        assert find_repo("dataset", name, charlie.user).full_name == "alice/Currents"
    move_repo(repo=tides, to="alice/tides", by=alice.user)
    assert find_repo("dataset", "alice/Currents", charlie.user).full_name == "alice/tides"
    assert [alias.full_name for alias in tides.aliases.all()] == ["alice/Currents"]


def test_a_repository_is_handed_to_an_organization(alice, tides, organization):
    from hub.repos.find import find_repo
    from hub.repos.lifecycle import move_repo

    move_repo(repo=tides, to="tidewatch/tides", by=alice.user)
    assert find_repo("dataset", "tidewatch/tides", alice.user).owner == organization
    assert tides.owner_user is None


def test_moving_changes_the_name_and_nothing_that_others_wrote_meanwhile(alice, tides):
    from hub.community.discussions import create_discussion
    from hub.repos.lifecycle import move_repo
    from hub.repos.models import Repo

    stale = Repo.objects.get(pk=tides.pk)
    create_discussion(repo=tides, by=alice.user, title="High water")
    add(tides, alice.user, {"a.txt": "one"})
    move_repo(repo=stale, to="alice/currents", by=alice.user)
    row = Repo.objects.get(pk=tides.pk)
    assert (row.name, row.next_number, row.head) == ("currents", 2, members_head(tides))


def test_a_move_needs_the_right_to_both_places(alice, bob, charlie, tides, organization):
    from hub.repos.lifecycle import move_repo

    with pytest.raises(Forbidden):
        move_repo(repo=tides, to="charlie/tides", by=charlie.user)
    for to in ("bob/tides", "nobody-here/tides"):
        with pytest.raises(Forbidden, match="namespace"):
            move_repo(repo=tides, to=to, by=alice.user)
    other = make_repo(alice.user, "currents")
    with pytest.raises(Conflict, match="alice/currents already exists"):
        move_repo(repo=tides, to="alice/currents", by=alice.user)
    assert (tides.full_name, other.full_name) == ("alice/tides", "alice/currents")


def test_made_private_it_is_gone_from_the_public_half_at_once_and_comes_back(alice, tides):
    from hub.repos.lifecycle import update_settings

    add(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    assert b"one" in public_texts(tides)
    update_settings(repo=tides, by=alice.user, is_private=True)
    assert public_head(tides) is None and public_texts(tides) == set() and tides.public_head == ""
    update_settings(repo=tides, by=alice.user, is_private=False)
    assert public_head(tides) == members_head(tides) and b"one" in public_texts(tides)


def test_a_crash_while_it_is_made_private_is_finished_later(alice, tides, monkeypatch):
    from hub.repos import lifecycle
    from hub.repos.commits import reconcile

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lifecycle, "publish", crash)
        lifecycle.update_settings(repo=tides, by=alice.user, is_private=True)
    tides.refresh_from_db()
    assert tides.is_private and public_texts(tides)  # the row is what the doors ask; the bytes follow
    assert len(reconcile(older_than_s=0)) == 1
    assert public_texts(tides) == set()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "The setting 'colour' does not exist; known are description, gated, is_private"),
        ({"gated": "maybe"}, "can be 'auto', 'manual' or false"),
        ({"description": "x" * 301}, "at most 300 characters"),
    ],
)
def test_settings_are_known_ones_with_known_values(alice, tides, changes, words):
    from hub.repos.lifecycle import update_settings

    with pytest.raises(InvalidInput, match=words):
        update_settings(repo=tides, by=alice.user, **changes)


def test_only_an_admin_changes_settings(bob, charlie, tides):
    from hub.repos.lifecycle import update_settings
    from hub.repos.models import RepoCollaborator

    RepoCollaborator.objects.create(repo=tides, user=bob.user, role="write")
    for user in (bob.user, charlie.user):
        with pytest.raises(Forbidden):
            update_settings(repo=tides, by=user, description="mine")


def test_what_was_released_stays_public(alice, tides):
    from hub.repos.lifecycle import delete_repo, update_settings
    from tests.guards import show_release

    show_release(tides)
    with pytest.raises(InvalidInput, match="has published releases, which stay public"):
        update_settings(repo=tides, by=alice.user, is_private=True)
    with pytest.raises(Conflict, match="cannot be deleted; yank the releases instead"):
        delete_repo(repo=tides, by=alice.user)


# --- end


def test_a_deleted_repository_looks_missing_and_its_name_is_free(
    alice, charlie, tides, settings, django_capture_on_commit_callbacks
):
    from hub.community.discussions import create_discussion
    from hub.repos.find import find_repo
    from hub.repos.lifecycle import delete_repo
    from hub.repos.places import pair

    create_discussion(repo=tides, by=charlie.user, title="High water")
    folder = pair(tides).folder
    with django_capture_on_commit_callbacks(execute=True):
        delete_repo(repo=tides, by=alice.user)
    assert folder.exists()  # it can be brought back: test_deleted.py
    with pytest.raises(RepoNotFound):
        find_repo("dataset", "alice/tides", alice.user)
    assert make_repo(alice.user).key != folder.name  # the same name again is another repository


def test_only_an_admin_ends_it(bob, tides):
    from hub.repos.lifecycle import delete_repo

    with pytest.raises(Forbidden):
        delete_repo(repo=tides, by=bob.user)


# --- copies


def test_a_history_with_bytes_that_are_withheld_is_copied_by_members_only(alice, charlie, unscreened):
    from hub.repos.duplicates import duplicate_repo
    from hub.repos.places import store
    from hub.storage.git import AddPointer

    repo = make_repo(alice.user)
    stored = store().add([b"\x00pickled" * 100])
    add(repo, alice.user, {}, operations=[AddPointer("args.bin", stored.sha256, stored.size)])
    clear(repo)
    contents = [row.digest for row in repo.contents.filter(path="args.bin")]
    assert f"sha256:{stored.sha256}" in contents
    from hub.repos.clearance import set_clearance

    set_clearance(contents=repo.contents.filter(digest__startswith="sha256:"), clearance="withheld", reason="A pickle.")
    with pytest.raises(Forbidden, match=r"args\.bin \(commit .*not cleared for you"):
        duplicate_repo(source=repo, by=charlie.user, name="copy")
    assert not charlie.user.repos.exists()
    copy = duplicate_repo(source=repo, by=alice.user, name="copy")
    assert copy.public_head == ""  # judged anew: what is pending waits here, too


def test_what_is_not_released_stays_behind_when_a_repository_is_copied(alice, unscreened):
    from hub.repos.duplicates import duplicate_repo
    from hub.repos.lifecycle import keep_for_release

    repo = make_repo(alice.user)
    shown = public_head(repo)
    keep_for_release(repo)
    add(repo, alice.user, {"new.txt": "not released\n"})
    clear(repo)
    copy = duplicate_repo(source=repo, by=alice.user, name="copy")
    assert members_head(copy) == shown


def test_too_long_a_history_is_pointed_to_git(alice, unscreened, monkeypatch):
    from hub.repos import duplicates

    repo = make_repo(alice.user)
    add(repo, alice.user, {"a.txt": "a\n"})
    monkeypatch.setattr(duplicates, "MAX_COMMITS", 1)
    with pytest.raises(TooLarge, match="2 commits; up to 1"):
        duplicates.duplicate_repo(source=repo, by=alice.user, name="copy")


def test_too_many_references_are_pointed_to_git(alice, unscreened, monkeypatch):
    from hub.repos import duplicates
    from hub.repos.refs import create_tag

    repo = make_repo(alice.user)
    for number in range(2):
        create_tag(repo=repo, by=alice.user, name=f"t{number}", start=members_head(repo))
    monkeypatch.setattr(duplicates, "MAX_REFS", 2)
    with pytest.raises(TooLarge, match="3 branches and tags; up to 2"):
        duplicates.duplicate_repo(source=repo, by=alice.user, name="copy")


def test_a_copy_that_fails_in_the_middle_leaves_nothing(alice, unscreened, monkeypatch):
    """Half of its branches would have been there, with a history in the name of who copied it."""
    from hub.repos import duplicates
    from hub.repos.models import PendingWrite, Repo

    repo = with_a_side_branch(alice)
    real = duplicates.register_commits

    def fail(**given):
        if given["ref"] == "refs/heads/side":
            raise OSError("the disk is gone")
        real(**given)

    monkeypatch.setattr(duplicates, "register_commits", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        duplicates.duplicate_repo(source=repo, by=alice.user, name="copy")
    assert not Repo.objects.filter(name="copy").exists() and not PendingWrite.objects.exists()


def test_a_copy_that_was_killed_in_the_middle_is_finished_later(alice, unscreened, monkeypatch):
    """Only main had a note: the commits of the other branches would never have been registered."""
    from hub.repos import duplicates
    from hub.repos.commits import reconcile
    from hub.repos.models import PendingWrite, Repo, Revision

    repo = with_a_side_branch(alice)

    class Killed(BaseException):
        pass

    def die(**_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "register_commits", die)
        with pytest.raises(Killed):
            duplicates.duplicate_repo(source=repo, by=alice.user, name="copy")
    copy = Repo.objects.get(name="copy")
    side = members_head(repo, "refs/heads/side")
    assert not Revision.objects.filter(repo=copy, commit=side).exists()
    reconcile(older_than_s=-1)
    assert Revision.objects.get(repo=copy, commit=side).author == alice.user and not PendingWrite.objects.exists()


def with_a_side_branch(alice):
    from hub.repos.refs import create_branch

    repo = make_repo(alice.user)
    create_branch(repo=repo, by=alice.user, name="side", start=members_head(repo))
    add(repo, alice.user, {"side.txt": "side\n"}, ref="refs/heads/side")
    return repo
