"""What is taken back goes from the public half, also when a process dies in between."""

from contextlib import contextmanager

import pytest

from tests.hub.scenes import add, clear, members_head, propose, public_head, public_texts, withhold

pytestmark = pytest.mark.django_db


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


@contextmanager
def dying_at(monkeypatch, owner, name):
    """The process ends where `name` is called."""

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(owner, name, crash)
        yield


def test_a_crash_before_the_public_half_followed_is_finished_later(alice, tides, monkeypatch):
    from hub.repos import clearance
    from hub.repos.commits import reconcile

    add(tides, alice.user, {"secret.txt": "hf_key"})
    clear(tides)

    with dying_at(monkeypatch, clearance, "publish"):
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

    with dying_at(monkeypatch, RepositoryPair, "retract"):
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
