"""A receiver hears what its owner may read at that moment, and nothing else."""

import pytest
from django.utils import timezone

from hub.common.errors import InvalidInput
from hub.community import discussions as talk
from hub.community.webhooks import by_hand
from hub.community.webhooks.history import told_payload
from hub.community.webhooks.models import Delivery
from hub.repos.clearance import set_clearance
from hub.repos.lifecycle import delete_repo, move_repo, update_settings
from tests.hub.community.webhooks.watching import heard, hook
from tests.hub.receivers import deliver, run_announcements
from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head

pytestmark = pytest.mark.django_db


# --- what a stranger must not hear


def test_a_private_repository_is_told_to_its_members_only(receiver, alice, charlie, unscreened):
    hook(charlie, receiver)
    repo = make_repo(alice.user, is_private=True)
    add(repo, alice.user, {"a.csv": "1\n"})
    talk.create_discussion(repo=repo, by=alice.user, title="Neap tides")
    update_settings(repo=repo, by=alice.user, description="High and low water")
    move_repo(repo=repo, to="alice/waves", by=alice.user)
    delete_repo(repo=repo, by=alice.user)
    assert deliver() == 0
    assert not Delivery.objects.exists(), "even that something happened is not told"


def test_what_happened_in_private_is_not_told_after_it_became_public(receiver, alice, charlie, tides):
    hook(charlie, receiver)
    update_settings(repo=tides, by=alice.user, is_private=True)
    move_repo(repo=tides, to="alice/waves", by=alice.user)
    talk.create_discussion(repo=tides, by=alice.user, title="Before we show it")
    update_settings(repo=tides, by=alice.user, is_private=False)
    deliver()
    assert b"alice/tides" not in b"".join(body for _, body in receiver.requests)
    assert heard(receiver) == ["repo.config update", "repo.content update"]


def test_who_loses_the_right_before_the_delivery_hears_nothing(receiver, alice, charlie, tides):
    hook(charlie, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    run_announcements()
    assert Delivery.objects.count() == 1
    update_settings(repo=tides, by=alice.user, is_private=True)
    assert (deliver(), receiver.requests) == (0, [])
    assert not Delivery.objects.exists()


def test_who_loses_the_right_between_two_attempts_hears_no_more_and_reads_no_payload(receiver, alice, charlie, tides):
    webhook = hook(charlie, receiver)
    receiver.statuses = [500]
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    assert deliver() == 1
    update_settings(repo=tides, by=alice.user, is_private=True)
    assert deliver(hours=1) == 0
    delivery = webhook.deliveries.get()
    assert (delivery.state, told_payload(delivery)) == ("failed", None)
    with pytest.raises(InvalidInput, match="may not read"):
        by_hand.send_again(delivery=delivery, now=timezone.now())


def test_a_stranger_hears_of_commits_when_they_are_cleared_and_of_no_other(receiver, alice, bob, charlie, tides):
    hook(charlie, receiver)
    before = public_head(tides)
    hidden = add(tides, alice.user, {"a.csv": "1\n"}).commit
    propose(tides, bob.user, {"b.csv": "2\n"}, title="Add b")  # Bob is a stranger here, and his proposal waits
    deliver()
    told = b"".join(body for _, body in receiver.requests).decode()
    assert hidden not in told and members_head(tides, "refs/pr/1") not in told
    named = {row["newSha"] for payload in receiver.payloads for row in payload.get("updatedRefs", [])}
    assert named == {before}, "the reference of the proposal is there, where it began"
    receiver.requests.clear()
    clear(tides)
    deliver()
    (payload,) = receiver.payloads
    refs = {row["ref"]: (row["oldSha"], row["newSha"]) for row in payload["updatedRefs"]}
    assert refs["refs/heads/main"] == (before, hidden)
    assert payload["repo"]["headSha"] == hidden


def test_a_proposal_to_a_branch_that_is_not_public_does_not_name_it(receiver, alice, bob, charlie, tides):
    from hub.repos.commits import move_ref
    from hub.repos.lifecycle import keep_for_release

    keep_for_release(tides)  # strangers see main and releases, no other branch
    move_ref(repo=tides, ref="refs/heads/surprise", new=members_head(tides), expected=None, by=alice.user, door="api")
    hook(charlie, receiver)
    for branch in ("surprise", "main"):
        propose(tides, alice.user, {"b.csv": "2\n"}, title="Add b", revision=branch)
    deliver()
    assert "surprise" not in b"".join(body for _, body in receiver.requests).decode()
    told = [payload["discussion"] for payload in receiver.payloads if "discussion" in payload]
    assert sorted(one.get("changes", {}).get("base", "") for one in told) == ["", "refs/heads/main"]


def test_a_commit_that_is_withheld_before_the_delivery_is_not_named(receiver, alice, charlie, tides):
    hook(charlie, receiver)
    add(tides, alice.user, {"a.csv": "1\n"})
    clear(tides)
    run_announcements()
    assert Delivery.objects.count() == 1
    gone = public_head(tides)
    set_clearance(contents=list(tides.contents.filter(path="a.csv")), clearance="withheld", reason="It holds a key.")
    deliver()
    told = b"".join(body for _, body in receiver.requests).decode()
    assert gone not in told and "a.csv" not in told and "key" not in told
    assert all(row["newSha"] == public_head(tides) for payload in receiver.payloads for row in payload["updatedRefs"])


def test_a_private_discussion_is_told_to_those_who_see_it(receiver, alice, bob, charlie, tides):
    for person in (alice, bob, charlie):
        hook(person, receiver)
    discussion = talk.create_discussion(repo=tides, by=charlie.user, title="A leaked key", is_private=True)
    talk.comment(discussion=discussion, by=charlie.user, text="It is in a.csv")
    assert deliver() == 4, "the owner and the reporter, twice each"


def test_an_account_that_is_switched_off_hears_nothing(receiver, alice, charlie, tides):
    hook(charlie, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    run_announcements()
    type(charlie.user).objects.filter(pk=charlie.user.pk).update(is_active=False)
    talk.create_discussion(repo=tides, by=alice.user, title="Spring tides")
    assert deliver() == 0
