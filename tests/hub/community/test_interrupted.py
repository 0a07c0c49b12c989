"""A process that dies between git and the rows of a pull request: `reconcile` lets the conversation catch up.

Death is an exception that nothing catches, raised at the named step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.hub.scenes import add, clear, members_head, operations, propose, public_head

pytestmark = pytest.mark.django_db


class Died(BaseException):
    """Like the end of the process, it passes every `except Exception`."""


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with dies("module.name"): ...` ends the process when it would call this function."""

    @contextmanager
    def die(target: str) -> Iterator[None]:
        def end(*_: Any, **__: Any) -> None:
            raise Died

        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(target, end)
            yield

    return die


def recover() -> int:
    from hub.community.interrupted import finish_interrupted
    from hub.repos.commits import reconcile
    from hub.repos.models import PendingWrite

    count = finish_interrupted(reconcile(older_than_s=0))
    assert not PendingWrite.objects.exists()
    return count


def pull_requests(repo: Any) -> list[Any]:
    from hub.community.models import PullRequest

    return list(PullRequest.objects.filter(discussion__repo=repo).select_related("discussion").order_by("pk"))


@pytest.mark.parametrize(
    "step",
    [
        "hub.community.pull_requests.move_ref",  # the rows are there, the ref is not
        "hub.repos.commits.GitRepo.move_ref",
        "hub.repos.commits.register_commits",  # the ref is there and unknown
    ],
)
def test_a_pull_request_that_never_got_its_commit_does_not_stay_open(tides, charlie, dies, step):
    with dies(step):
        propose(tides, charlie.user, {"c.txt": "mine"})
    recover()
    assert [row.discussion.status for row in pull_requests(tides)] in ([], ["draft"])
    again = propose(tides, charlie.user, {"c.txt": "mine"})
    assert (again.discussion.status, members_head(tides, again.ref)) == ("open", again.head)


@pytest.mark.parametrize(
    "step",
    [
        "hub.community.contributions.head_moved",
        "hub.community.pull_requests.refresh",
        "hub.community.candidates.set_candidate",
    ],
)
def test_a_commit_to_a_pull_request_is_seen_and_judged_afterwards(tides, charlie, alice, dies, step):
    from hub.community.contributions import commit
    from hub.community.pull_requests import merge

    pull_request = propose(tides, charlie.user, {"c.txt": "one"})
    with dies(step):
        commit(
            repo=tides, by=charlie.user, revision=pull_request.ref, operations=operations({"d.txt": "two"}),
            title="More", door="api",
        )  # fmt: skip
    assert recover() == 1
    (row,) = pull_requests(tides)
    assert row.head == members_head(tides, row.ref) != pull_request.head
    clear(tides)
    merge(pull_request=row, by=alice.user)
    assert "d.txt" in paths_of_main(tides)


def paths_of_main(repo: Any) -> list[str]:
    from hub.repos.places import pair

    members = pair(repo).members
    return [entry.path for entry in members.tree(members.resolve("main"))]


def test_an_old_candidate_is_not_merged_when_the_new_one_did_not_come_to_be(tides, charlie, alice, dies):
    """Before anything was reconciled: what is merged is what the pull request holds now."""
    from hub.community.contributions import commit
    from hub.community.pull_requests import merge

    pull_request = propose(tides, charlie.user, {"c.txt": "one"})
    with dies("hub.community.pull_requests.refresh"):
        commit(
            repo=tides, by=charlie.user, revision=pull_request.ref, operations=operations({"d.txt": "two"}),
            title="More", door="api",
        )  # fmt: skip
    clear(tides)
    merge(pull_request=pull_request, by=alice.user)
    assert "d.txt" in paths_of_main(tides)


@pytest.mark.parametrize("step", ["hub.repos.commits.register_commits", "hub.community.pull_requests.record_merge"])
def test_a_merge_that_moved_the_target_is_recorded_for_who_merged(tides, charlie, alice, dies, step):
    from hub.community.pull_requests import merge

    pull_request = propose(tides, charlie.user, {"c.txt": "mine"})
    clear(tides)
    with dies(step):
        merge(pull_request=pull_request, by=alice.user)
    assert members_head(tides) == pull_requests(tides)[0].candidate
    assert recover() == 1
    (row,) = pull_requests(tides)
    assert (row.discussion.status, row.merged_by, row.merge_commit) == ("merged", alice.user, members_head(tides))
    assert public_head(tides) == members_head(tides)
    assert recover() == 0


def test_what_nobody_interrupted_is_left_alone(tides, charlie, alice, dies):
    from hub.community.pull_requests import open_pull_request

    propose(tides, charlie.user, {"c.txt": "mine"})
    open_pull_request(repo=tides, by=charlie.user, title="Soon more", is_draft=True)
    before = [(row.head, row.discussion.status, row.candidate_digest) for row in pull_requests(tides)]
    with dies("hub.repos.commits.register_commits"):
        add(tides, alice.user, {"a.txt": "on main"})
    recover()
    after = [(row.head, row.discussion.status) for row in pull_requests(tides)]
    assert after == [(head, status) for head, status, _ in before]


def propose_a_change(repo: Any, by: Any) -> None:
    propose(repo, by, {"c.txt": "mine"})  # its candidate holds the head of main


def open_an_empty_one(repo: Any, by: Any) -> None:
    from hub.community.pull_requests import open_pull_request

    open_pull_request(repo=repo, by=by, title="Soon more", is_draft=True)


def make_a_branch(repo: Any, by: Any) -> None:
    from hub.repos.refs import create_branch

    create_branch(repo=repo, by=by, name="mine", start=members_head(repo))


def push_upon_it(repo: Any, by: Any) -> None:
    from hub.repos.places import pair

    push = Push(repo, by)
    commit = loose_commit(repo, by)
    result = push.send("refs/heads/mine", commit)
    pair(repo).members.move_ref(result.ref, commit, None)
    push.judge.after([result])


@pytest.mark.parametrize("act", [propose_a_change, open_an_empty_one, make_a_branch, push_upon_it])
def test_whoever_builds_upon_an_unregistered_commit_is_not_its_author(tides, bob, alice, dies, act):
    """Its writer died, or just has not got to it; in between, another's act reaches it."""
    with dies("hub.repos.commits.register_commits"):
        add(tides, alice.user, {"a.txt": "of alice"}, title="Of alice")
    tides.collaborators.create(user=bob.user, role="write")
    act(tides, bob.user)
    assert not tides.revisions.filter(title="Of alice").exists()
    recover()
    (row,) = tides.revisions.filter(title="Of alice")
    assert (row.author, row.door) == (alice.user, "api")


# --- pushes


class Push:
    """What `receive` hands to the judge, for one command and an ordinary repository as quarantine."""

    def __init__(self, repo: Any, by: Any) -> None:
        from hub.community.pushes import PushJudge

        self.repo = repo
        self.judge = PushJudge(repo, by, address=lambda path: f"http://hub{path}")

    def send(self, ref: str, new: str, old: str | None = None) -> Any:
        from types import SimpleNamespace

        from hub.repos.places import pair
        from hub.storage.git.wire import RefCommand

        members = pair(self.repo).members
        quarantine = SimpleNamespace(repo=members, known=(members_head(self.repo),))
        (result,) = self.judge.judge(quarantine, [RefCommand(old, new, ref)])
        return result


def loose_commit(repo: Any, by: Any) -> str:
    """A commit that lies in the repository without a ref, as after a push's objects were moved in."""
    from hub.repos.commits import author_of
    from hub.repos.places import pair
    from hub.storage.git import ANY, AddFile

    members = pair(repo).members
    base = members_head(repo)
    made = members.commit(
        "refs/heads/tmp", [AddFile("pushed.txt", b"pushed\n")], author=author_of(by), message="Push", base=base
    )
    members.move_ref("refs/heads/tmp", None, ANY)
    return made


def test_a_push_that_opened_a_pull_request_and_died_before_its_ref_leaves_none(tides, charlie):
    push = Push(tides, charlie.user)
    result = push.send("refs/for/main", loose_commit(tides, charlie.user))
    assert (result.ok, result.ref, len(pull_requests(tides))) == (True, "refs/pr/1", 1)
    assert recover() == 1
    assert pull_requests(tides) == []


def test_a_push_that_died_after_its_ref_moved_is_finished(tides, charlie):
    from hub.repos.places import pair

    push = Push(tides, charlie.user)
    commit = loose_commit(tides, charlie.user)
    result = push.send("refs/for/main", commit)
    pair(tides).members.move_ref(result.ref, commit, None)
    assert recover() == 1
    (row,) = pull_requests(tides)
    assert (row.head, row.discussion.status, row.discussion.author) == (commit, "open", charlie.user)
    assert tides.revisions.get(commit=commit).author == charlie.user
    assert row.candidate_digest


def test_a_push_that_was_refused_later_leaves_no_pull_request_and_no_note(tides, charlie):
    """Judged well, then somebody was quicker: the ref never moved, and the pusher was told."""
    from dataclasses import replace

    from hub.repos.models import PendingWrite

    push = Push(tides, charlie.user)
    result = push.send("refs/for/main", loose_commit(tides, charlie.user))
    lines = list(push.judge.after([replace(result, refusal="It moved meanwhile.", written=None)]))
    assert (lines, pull_requests(tides), PendingWrite.objects.count()) == ([], [], 0)
