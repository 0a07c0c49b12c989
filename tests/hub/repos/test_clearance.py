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


# --- taking back


def test_a_withdrawal_moves_main_back_and_forgets_the_bytes(alice, tides):
    good = add(tides, alice.user, {"a.txt": "one"}).commit
    add(tides, alice.user, {"secret.txt": "hf_key"})
    last = add(tides, alice.user, {"b.txt": "two"}).commit
    clear(tides)
    assert public_head(tides) == last
    withhold(tides, "secret.txt")
    assert public_head(tides) == good == tides.public_head
    assert public_texts(tides).isdisjoint({b"hf_key", b"two"}) and b"one" in public_texts(tides)
    assert members_head(tides) == last  # members lose nothing
    clear(tides)
    assert public_head(tides) == last and b"hf_key" in public_texts(tides)


def test_a_withdrawal_takes_tags_and_pull_requests_along(alice, charlie, tides):
    from hub.repos.commits import move_ref

    commit = add(tides, alice.user, {"secret.txt": "hf_key"}).commit
    move_ref(repo=tides, ref="refs/tags/first", new=commit, expected=None, by=alice.user, door="api")
    clear(tides)
    pull_request = propose(tides, charlie.user, {"a.txt": "one"})
    clear(tides)
    assert public_head(tides, "refs/tags/first") and public_head(tides, pull_request.ref) == pull_request.head
    withhold(tides, "secret.txt")
    assert public_head(tides, "refs/tags/first") is None
    assert public_texts(tides).isdisjoint({b"hf_key", b"one"})


def test_a_crash_before_the_public_half_followed_is_finished_later(alice, tides, monkeypatch):
    from hub.repos import clearance
    from hub.repos.commits import reconcile

    add(tides, alice.user, {"secret.txt": "hf_key"})
    clear(tides)

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(clearance, "publish", crash)
        withhold(tides, "secret.txt")
    assert b"hf_key" in public_texts(tides)
    assert len(reconcile(older_than_s=0)) == 1
    assert b"hf_key" not in public_texts(tides)


def test_a_crash_between_moving_back_and_forgetting_is_finished_later(alice, tides, monkeypatch):
    """The references were right already, so nothing seemed to be left to do, and the bytes stayed readable by id."""
    from hub.repos.commits import reconcile
    from hub.storage.git import RepositoryPair

    add(tides, alice.user, {"secret.txt": "hf_key"})
    clear(tides)

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RepositoryPair, "retract", crash)
        withhold(tides, "secret.txt")
    reconcile(older_than_s=0)
    assert b"hf_key" not in public_texts(tides)


def test_a_rewritten_branch_is_rewritten_for_the_public_and_what_it_dropped_is_gone(alice, tides):
    from hub.repos.commits import move_ref

    start = members_head(tides)
    last = add(tides, alice.user, {"old.txt": "old"}).commit
    clear(tides)
    move_ref(repo=tides, ref="refs/heads/main", new=start, expected=last, by=alice.user, door="git")
    assert public_head(tides) == start and b"old" not in public_texts(tides)


def test_deciding_about_nothing_changes_nothing(alice, tides, django_assert_num_queries):
    from hub.repos.clearance import decide as decide_about

    with django_assert_num_queries(0):
        decide_about(tides, [])


def test_a_decision_keeps_its_reason_and_time_and_is_told(alice, tides):
    from hub.repos.events import clearance_changed

    heard = []
    add(tides, alice.user, {"a.txt": "one"})

    def hear(repo, contents, **_):
        heard.append((repo, [content.path for content in contents]))

    clearance_changed.connect(hear)
    try:
        withhold(tides, "a.txt", reason="It names a person.")
    finally:
        clearance_changed.disconnect(hear)
    content = tides.contents.get(path="a.txt")
    assert (content.clearance, content.reason) == ("withheld", "It names a person.") and content.decided_at
    assert heard == [(tides, ["a.txt"])]


def test_many_decisions_cost_few_queries(alice, tides, django_assert_max_num_queries):
    add(tides, alice.user, {f"{number}.txt": str(number) for number in range(60)})
    rows = list(tides.contents.select_related("repo"))
    from hub.repos.clearance import Decision
    from hub.repos.clearance import decide as decide_about

    with django_assert_max_num_queries(40):
        decide_about(tides, [Decision(row, "cleared") for row in rows])
    assert public_head(tides) == members_head(tides)


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

    floor = tides.public_head
    keep_for_release(tides)
    commit = add(tides, alice.user, {"weights.txt": "made here"}).commit
    later = add(tides, alice.user, {"more.txt": "not released"}).commit
    clear(tides)
    release = RepoRelease.objects.create(repo=tides, tag="v1.0.0", commit=commit)
    move_ref(repo=tides, ref="refs/tags/v1.0.0", new=commit, expected=None, by=alice.user, door="hub")
    assert (public_head(tides), public_head(tides, "refs/tags/v1.0.0")) == (commit, commit)
    assert b"not released" not in public_texts(tides) and later == members_head(tides)
    release.state = RepoRelease.State.YANKED
    release.save()
    publish(tides)
    assert (public_head(tides), public_head(tides, "refs/tags/v1.0.0")) == (floor, commit)
    release.state = RepoRelease.State.QUARANTINED
    release.save()
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


def test_publishing_again_changes_nothing(alice, tides):
    from hub.repos.places import pair
    from hub.repos.publication import publish

    add(tides, alice.user, {"a.txt": "one"})
    clear(tides)
    before = pair(tides).public.refs(), public_texts(tides)
    publish(tides)
    publish(tides, is_withdrawal=True)
    assert (pair(tides).public.refs(), public_texts(tides)) == before


@pytest.mark.django_db(transaction=True)
def test_decisions_and_commits_that_meet_leave_the_public_half_right(alice, tides):
    from tests.beside import at_once

    for number in range(4):
        add(tides, alice.user, {f"{number}.txt": f"text {number}"})
    tasks = [lambda path=f"{number}.txt": clear_one(tides.pk, path) for number in range(4)]
    tasks.append(lambda: add(tides, alice.user, {"later.txt": "later"}))
    results = at_once(*tasks)
    assert not [one for one in results if isinstance(one, Exception)]
    clear(tides)
    assert public_head(tides) == members_head(tides) == tides.public_head


def clear_one(repo_pk, path):
    from hub.repos.models import Repo

    clear(Repo.objects.get(pk=repo_pk), path)


def test_a_listener_that_breaks_does_not_break_the_decision(alice, tides, caplog):
    """The decision stood already; whoever decided saw a fault, and nobody after the broken listener heard of it."""
    from hub.repos.events import clearance_changed

    def break_down(**_):
        raise RuntimeError("the listener broke")

    add(tides, alice.user, {"a.txt": "one"})
    clearance_changed.connect(break_down)
    try:
        withhold(tides, "a.txt")
    finally:
        clearance_changed.disconnect(break_down)
    assert tides.contents.get(path="a.txt").clearance == "withheld" and "the listener broke" in caplog.text
