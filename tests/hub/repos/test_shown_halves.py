"""Private, disabled, or releases only: what the public half then holds."""

import pytest

from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head, public_texts

pytestmark = pytest.mark.django_db


# --- private and disabled, releases only


def test_a_private_repository_has_no_public_half(alice, unscreened):
    repo = make_repo(alice.user, "diary", is_private=True)
    add(repo, alice.user, {"a.txt": "one"})
    clear(repo)
    assert public_head(repo) is None and public_texts(repo) == set() and repo.public_head == ""


def test_a_disabled_repository_has_no_public_half(alice, tides):
    from hub.repos.publication import publish

    add(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    tides.is_disabled = True
    tides.save()
    publish(tides, is_withdrawal=True)
    assert public_head(tides) is None and public_texts(tides) == set()


def test_releases_only_shows_what_was_public_when_that_began(alice, tides):
    from hub.repos.lifecycle import keep_for_release

    floor = add(tides, alice.user, {"a.txt": "one"}).commit
    clear(tides)
    keep_for_release(tides)
    keep_for_release(tides)  # once is enough
    add(tides, alice.user, {"weights.txt": "made here"})
    clear(tides)
    assert tides.public_floor == floor == public_head(tides) and tides.has_release_policy
    assert b"made here" not in public_texts(tides)


def test_releases_only_from_the_start_shows_nothing_before_the_first(alice, unscreened):
    from hub.repos.lifecycle import create_repo, keep_for_release

    repo = create_repo(type="model", name="poems", by=alice.user)
    keep_for_release(repo)
    clear(repo)
    assert public_head(repo) is None


def test_a_release_is_shown_by_its_tag_and_on_main_until_it_is_quarantined(alice, tides):
    from hub.repos.commits import move_ref
    from hub.repos.lifecycle import keep_for_release
    from hub.repos.models import RepoRelease
    from hub.repos.publication import publish
    from tests.guards import set_shown_state, show_release

    floor = tides.public_head
    keep_for_release(tides)
    commit = add(tides, alice.user, {"weights.txt": "made here"}).commit
    later = add(tides, alice.user, {"more.txt": "not released"}).commit
    clear(tides)
    release = show_release(tides, commit=commit)
    move_ref(repo=tides, ref="refs/tags/v1.0.0", new=commit, expected=None, by=alice.user, door="hub")
    assert (public_head(tides), public_head(tides, "refs/tags/v1.0.0")) == (commit, commit)
    assert b"not released" not in public_texts(tides) and later == members_head(tides)
    set_shown_state(release, RepoRelease.State.YANKED)
    publish(tides)
    assert (public_head(tides), public_head(tides, "refs/tags/v1.0.0")) == (floor, commit)
    set_shown_state(release, RepoRelease.State.QUARANTINED)
    publish(tides, is_withdrawal=True)
    assert (public_head(tides), public_head(tides, "refs/tags/v1.0.0")) == (floor, None)
    assert b"made here" not in public_texts(tides)


def test_a_branch_or_plain_tag_is_no_way_around_the_release(alice, tides):
    from hub.repos.commits import move_ref
    from hub.repos.lifecycle import keep_for_release

    floor = tides.public_head
    keep_for_release(tides)
    commit = add(tides, alice.user, {"weights.txt": "made here"}).commit
    for ref in ("refs/heads/dev", "refs/tags/mine"):
        move_ref(repo=tides, ref=ref, new=commit, expected=None, by=alice.user, door="api")
    move_ref(repo=tides, ref="refs/tags/old", new=floor, expected=None, by=alice.user, door="api")
    clear(tides)
    assert public_head(tides, "refs/heads/dev") is None and public_head(tides, "refs/tags/mine") is None
    assert public_head(tides, "refs/tags/old") == floor and b"made here" not in public_texts(tides)


def test_a_pull_request_is_shown_beside_releases_unless_it_carries_unreleased_work_along(alice, charlie, tides):
    from hub.repos.lifecycle import keep_for_release

    keep_for_release(tides)
    fair = propose(tides, charlie.user, {"a.txt": "one"})  # on what strangers see
    add(tides, alice.user, {"weights.txt": "made here"})
    carrying = propose(tides, alice.user, {"b.txt": "two"})  # on the members' main
    clear(tides)
    assert public_head(tides, fair.ref) == fair.head
    assert public_head(tides, carrying.ref) is None
    assert b"made here" not in public_texts(tides)


@pytest.mark.parametrize("long_first", [True, False])
def test_a_long_merged_branch_does_not_hide_what_a_pull_request_carries_along(alice, tides, long_first):
    """Of what is unreleased on main only the first fifty commits were compared, and a merged branch can hold more."""
    from hub.repos.commits import author_of, move_ref
    from hub.repos.lifecycle import keep_for_release
    from hub.repos.places import pair
    from hub.storage.git import AddFile

    floor = members_head(tides)
    keep_for_release(tides)
    members, author = pair(tides).members, author_of(alice.user)
    made = add(tides, alice.user, {"weights.txt": "made here"}).commit
    carrying = propose(tides, alice.user, {"b.txt": "two"})
    long = floor
    for number in range(51):
        steps = [AddFile("long.txt", b"%d" % number)]
        long = members.commit("refs/heads/long", steps, author=author, message="Go on", base=floor)
    merged = members.merge(*((long, made) if long_first else (made, long)), author=author, message="Merge")
    move_ref(repo=tides, ref="refs/heads/main", new=merged, expected=made, by=alice.user, door="git")
    clear(tides)
    assert public_head(tides, carrying.ref) is None
    assert b"made here" not in public_texts(tides)
