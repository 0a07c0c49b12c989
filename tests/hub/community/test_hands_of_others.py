"""A pull request that more than one person pushed to: who may approve it, and what its author gets to see."""

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from hub.accounts.permissions import can
from hub.common.errors import Forbidden, RevisionNotFound
from hub.community import discussions
from hub.community.contributions import commit, reader_for
from hub.community.models import PullRequest
from hub.community.pull_requests import head_moved, unmet_requirements
from hub.community.reviews import review, valid_approvals
from hub.repos.clearance import set_clearance
from hub.repos.commits import move_ref
from hub.repos.lifecycle import create_repo
from hub.repos.models import Content, RepoCollaborator
from hub.repos.places import pair
from hub.storage.git import AddFile, Author
from hub.storage.git.commits import format_commit
from hub.storage.git.objects import _format_pack, hash_object
from hub.storage.git.packets import FLUSH, format_packet
from hub.storage.git.wire import RefCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("cleared_at_once")]


@pytest.fixture
def repo(alice: Any, bob: Any) -> Any:
    """alice/tides, to which Bob may write."""
    repo = create_repo(type="dataset", owner=alice.user, name="tides", by=alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    return repo


def bring(repo: Any, by: Any, path: str, text: str, **more: Any) -> Any:
    given = {"revision": "main", "title": f"Add {path}", "door": "api", **more}
    return commit(repo=repo, by=by.user, operations=[AddFile(path, text.encode())], **given)


def fresh(pull_request: PullRequest) -> PullRequest:
    return PullRequest.objects.select_related("discussion__repo", "discussion__author").get(pk=pull_request.pk)


def approve(pull_request: PullRequest, by: Any) -> None:
    row = fresh(pull_request)
    review(pull_request=row, by=by.user, verdict="approve", digest=row.candidate_digest)


def test_who_pushed_to_a_strangers_pull_request_does_not_approve_it(repo, alice, bob, charlie):
    """A maintainer who put their own work into somebody else's pull request was its needed second person, too."""
    pull_request = bring(repo, charlie, "a.txt", "mine\n", create_pr=True).pull_request
    bring(repo, alice, "b.txt", "what Alice wants\n", revision=pull_request.ref)
    with pytest.raises(Forbidden, match="You pushed commits to this pull request"):
        approve(pull_request, alice)
    approve(pull_request, bob)
    assert [row.by for row in valid_approvals(fresh(pull_request))] == [bob.user]


def test_an_approval_ends_when_its_giver_pushes_although_the_files_are_the_same(repo, alice, charlie):
    pull_request = bring(repo, charlie, "a.txt", "mine\n", create_pr=True).pull_request
    approve(pull_request, alice)
    assert len(valid_approvals(fresh(pull_request))) == 1
    bring(repo, alice, "b.txt", "other\n", revision=pull_request.ref)
    bring(repo, alice, "b.txt", "", revision=pull_request.ref)
    assert valid_approvals(fresh(pull_request)) == []


def test_trained_weights_are_not_merged_by_the_one_who_pushed_their_recipe(repo, alice, charlie):
    pull_request = bring(repo, charlie, "a.txt", "mine\n", create_pr=True).pull_request
    bring(repo, alice, "b.txt", "what Alice wants\n", revision=pull_request.ref)
    PullRequest.objects.filter(pk=pull_request.pk).update(is_trained=True)
    row = fresh(pull_request)
    row.reviews.create(by=alice.user, verdict="approve", digest=row.candidate_digest)  # by whatever door
    assert any(
        "approval of this candidate by somebody else" in reason for reason in unmet_requirements(row, alice.user)
    )


def merge_main_into(pull_request: PullRequest, by: Any) -> str:
    """What a maintainer's `git merge main && git push` does to a pull request."""
    repo = pull_request.discussion.repo
    members = pair(repo).members
    author = Author("Alice", "alice@example.org", pull_request.discussion.created_at)
    new = members.merge(pull_request.head, members.read_ref("refs/heads/main"), author=author, message="Update")
    move_ref(repo=repo, ref=pull_request.ref, new=new, expected=pull_request.head, by=by.user, door="git")
    head_moved(pull_request, by=by.user)
    return new


def test_what_waits_on_main_does_not_reach_a_stranger_through_their_own_pull_request(repo, alice, charlie):
    """Its author reads a pull request before it is cleared, but not what a member merged into it from the hidden main."""
    pull_request = bring(repo, charlie, "mine.txt", "mine\n", create_pr=True).pull_request
    hidden = bring(repo, alice, "people.txt", "a name and a number\n").revision.commit
    content = Content.objects.get(repo=repo, path="people.txt")
    set_clearance(contents=[content], clearance=Content.Clearance.WITHHELD, reason="It names people.")
    merged = merge_main_into(fresh(pull_request), alice)
    repo.refresh_from_db()
    reader = reader_for(repo, charlie.user)
    for revision in (hidden, merged):
        with pytest.raises(RevisionNotFound):
            reader.resolve(revision)
    seen = reader.resolve(pull_request.ref)  # what of it is cleared
    assert [entry.path for entry in reader.tree(seen)] == [".gitattributes", "mine.txt"]
    assert reader.refs()[pull_request.ref] == seen
    assert reader_for(repo, alice.user).resolve(pull_request.ref) == merged


def test_a_stranger_cannot_copy_what_a_member_merged_into_their_pull_request(repo, client, alice, charlie):
    """Charlie may build on his pull request; what Alice merged into it he could copy by pushing a commit of the hidden
    tree, whose id is no secret: it is the digest that checks bind to."""
    pull_request = bring(repo, charlie, "mine.txt", "mine\n", create_pr=True).pull_request
    bring(repo, alice, "people.txt", "a name and a number\n")
    content = Content.objects.get(repo=repo, path="people.txt")
    set_clearance(contents=[content], clearance=Content.Clearance.WITHHELD, reason="It names people.")
    merge_main_into(fresh(pull_request), alice)
    repo.refresh_from_db()
    headers = {"Authorization": f"Bearer {charlie.token}"}
    told = client.get(f"/api/v1/repos/datasets/alice/tides/pulls/{pull_request.discussion.number}", headers=headers)
    tree = told.json()["candidate_digest"].removeprefix("git:")
    author = Author("Charlie", "charlie@example.org", pull_request.discussion.created_at)
    copy = format_commit(
        tree=tree, parents=[reader_for(repo, charlie.user).resolve("main")], author=author, message="Copy"
    )
    line = f"{'0' * 40} {hash_object('commit', copy)} refs/for/main".encode() + b"\0report-status"
    body = format_packet(line) + FLUSH + b"".join(_format_pack([("commit", copy)]))
    page, kind = "/datasets/alice/tides.git/git-receive-pack", "application/x-git-receive-pack-request"
    answer = client.post(page, body, content_type=kind, headers=headers)
    assert b"".join(answer.streaming_content if answer.streaming else [answer.content]).count(b"misses objects")
    assert PullRequest.objects.count() == 1


def test_its_author_still_reads_a_pull_request_that_waits(repo, charlie):
    pull_request = bring(repo, charlie, "mine.txt", "mine\n", create_pr=True).pull_request
    set_clearance(contents=list(Content.objects.filter(path="mine.txt")), clearance=Content.Clearance.WITHHELD)
    head = fresh(pull_request).head
    reader = reader_for(repo, charlie.user)
    assert reader.resolve(pull_request.ref) == head and reader.read_text(head, "mine.txt") == "mine\n"
    assert reader_for(repo, charlie.user).resolve(head) == head  # the client pins the id


def test_nobody_rewrites_the_words_of_others(repo, alice, charlie):
    """A maintainer hides a comment; words under Charlie's name are Charlie's."""
    talk = discussions.create_discussion(repo=repo, by=charlie.user, title="A question", text="Why?")
    event = talk.events.get()
    with pytest.raises(Forbidden, match="Only its author"):
        discussions.edit_comment(discussion=talk, event_id=str(event.pk), by=alice.user, text="I agree with Alice.")
    discussions.edit_comment(discussion=talk, event_id=str(event.pk), by=charlie.user, text="Why so?")
    discussions.hide_comment(discussion=talk, event_id=str(event.pk), by=alice.user)


@pytest.mark.parametrize("name", ["001", "²", "1" * 30, "1/../../heads/main", "-1"])
def test_a_pull_request_has_one_ref_only(repo, charlie, name):
    """refs/pr/001 was taken for number 1 and written as a ref of its own, which nobody keeps in order."""
    from hub.community.pushes import PushJudge

    pull_request = bring(repo, charlie, "a.txt", "mine\n", create_pr=True).pull_request
    assert can(charlie.user, "propose", repo) and pull_request.discussion.number == 1
    judge = PushJudge(repo, charlie.user, address=str)
    command = RefCommand(None, fresh(pull_request).head, f"refs/pr/{name}")
    result = judge.judge_command(None, command)  # refused before the quarantine is looked at
    assert not result.ok and "kept by the hub" in result.refusal


def test_names_and_reasons_of_what_is_hidden_are_for_those_who_may_read_it(repo, alice, bob, charlie):
    """Everybody reads what blocks a merge; it named the withheld file and what the screens had found in it."""
    pull_request = bring(repo, charlie, "my-password.txt", "hunter2\n", create_pr=True).pull_request
    content = Content.objects.get(repo=repo, path="my-password.txt")
    set_clearance(contents=[content], clearance=Content.Clearance.WITHHELD, reason="Line 1 holds a password.")
    row = fresh(pull_request)
    for person in (charlie, bob, alice):
        assert any("my-password.txt is withheld: Line 1" in reason for reason in unmet_requirements(row, person.user))
    shown = " ".join(unmet_requirements(row, AnonymousUser()))
    assert "1 file of it is not cleared" in shown
    assert "my-password" not in shown and "Line 1" not in shown
