"""Tests and repetitions by hand, and the history of deliveries."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common.errors import InvalidInput, TooManyAttempts
from hub.common.jobs import run
from hub.common.models import Job
from hub.community import discussions as talk
from hub.community.webhooks import by_hand, history
from hub.community.webhooks.history import prune, told_payload
from hub.community.webhooks.models import Delivery
from hub.repos.models import Repo
from tests.hub.community.webhooks.watching import heard, hook
from tests.hub.receivers import deliver, run_announcements

pytestmark = pytest.mark.django_db


# --- by hand, and the history


def test_a_test_and_a_repetition_are_sent_at_once_and_in_bounded_number(receiver, alice, bob, tides):
    webhook = hook(bob, receiver)
    by_hand.send_test(webhook=webhook, by=bob.user, now=timezone.now())
    assert (deliver(), heard(receiver)) == (1, ["ping update"])
    receiver.statuses = [500]
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    heard(receiver)
    failed = webhook.deliveries.get(state="waiting")
    receiver.statuses = [200]
    again = by_hand.send_again(delivery=failed, now=timezone.now())
    assert (deliver(), heard(receiver)) == (1, ["discussion create"])
    again.refresh_from_db()
    assert (again.state, again.by_hand, again.pk != failed.pk) == ("delivered", True, True)
    with pytest.raises(TooManyAttempts):
        for _ in range(by_hand.LIMIT):
            by_hand.send_test(webhook=webhook, by=bob.user, now=timezone.now())


def test_a_test_needs_something_to_speak_of(receiver, alice, bob):
    webhook = hook(bob, receiver)
    with pytest.raises(InvalidInput, match="make one first"):
        by_hand.send_test(webhook=webhook, by=bob.user, now=timezone.now())


def test_the_history_is_bounded_and_forgets_hidden_words(receiver, alice, bob, tides, monkeypatch):
    webhook = hook(bob, receiver)
    discussion = talk.create_discussion(repo=tides, by=alice.user, title="Neap tides", text="I live at the pier")
    deliver()
    delivery = webhook.deliveries.get()
    assert "at the pier" in told_payload(delivery)
    event = discussion.events.get(kind="comment")
    talk.hide_comment(discussion=discussion, event_id=str(event.pk), by=alice.user)
    assert "at the pier" not in told_payload(delivery)
    for number in range(4):
        talk.create_discussion(repo=tides, by=alice.user, title=f"Tide {number}")
    deliver()
    newest = list(webhook.deliveries.order_by("-pk").values_list("pk", flat=True)[:3])
    monkeypatch.setattr(history, "KEPT", 3)
    prune(now=timezone.now())
    assert list(webhook.deliveries.order_by("-pk").values_list("pk", flat=True)) == newest
    prune(now=timezone.now() + timedelta(days=31))
    assert not webhook.deliveries.exists()


def test_what_was_never_sent_does_not_wait_for_ever(receiver, alice, bob, tides):
    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    run_announcements()
    prune(now=timezone.now() + timedelta(days=4))
    assert not Delivery.objects.exists()


def test_the_jobs_send_and_tidy_up(receiver, alice, bob, tides):
    from hub.common.jobs import enqueue

    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    run_announcements()
    (job,) = Job.objects.filter(kind="webhooks.deliver")
    run(str(job.pk))
    assert heard(receiver) == ["discussion create"]
    Job.objects.filter(kind="webhooks.announce").update(finished_at=timezone.now() - timedelta(days=2))
    run(str(enqueue("webhooks.prune").pk))
    assert not Job.objects.filter(kind="webhooks.announce").exists()
    assert json.loads(Delivery.objects.get().payload)["repo"]["name"] == Repo.objects.get().full_name
