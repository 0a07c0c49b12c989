"""Deliveries that fail: tried again, held up by nothing, given up in the end."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common.models import Job
from hub.community import discussions as talk
from hub.community.models import Notification
from hub.community.webhooks import deliveries
from hub.community.webhooks.deliveries import DISABLED_AFTER, PATIENCE_S, send_due
from hub.community.webhooks.models import Delivery
from hub.community.webhooks.registry import set_disabled, update_webhook
from tests.hub.community.webhooks.watching import hook
from tests.hub.receivers import deliver, run_announcements

pytestmark = pytest.mark.django_db


# --- trying again


def test_after_failures_it_is_tried_again_later_and_no_sooner(receiver, alice, bob, tides):
    webhook = hook(bob, receiver)
    receiver.statuses = [500, 503, 200]
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    now = timezone.now()
    run_announcements()
    assert [send_due(now=now + timedelta(seconds=s)) for s in (5, 6, 64, 66, 300, 367, 368)] == [1, 0, 0, 1, 0, 1, 0]
    delivery = webhook.deliveries.get()
    assert (delivery.state, delivery.attempts, delivery.status_code, delivery.answer) == ("delivered", 3, 200, "thanks")
    assert len({headers["X-Webhook-Delivery"] for headers, _ in receiver.requests}) == 1
    webhook.refresh_from_db()
    assert webhook.failures == 0


def test_a_delivery_that_never_succeeds_fails_for_good(receiver, alice, bob, tides):
    webhook = hook(bob, receiver)
    receiver.statuses = [500]
    receiver.body = b"the tide table is full"
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    attempts = sum(deliver(hours=hours) for hours in range(0, 120, 12))
    delivery = webhook.deliveries.get()
    assert (attempts, delivery.attempts, delivery.state) == (len(PATIENCE_S) + 1, len(PATIENCE_S) + 1, "failed")
    assert (delivery.status_code, delivery.answer) == (500, "the tide table is full")
    assert "answered 500" in delivery.problem


def test_an_event_that_cannot_be_taken_does_not_hold_up_the_others(receiver, alice, bob, tides):
    webhook = hook(bob, receiver)
    receiver.statuses = [500, 200]
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    talk.create_discussion(repo=tides, by=alice.user, title="Spring tides")
    deliver()
    assert [row.state for row in webhook.deliveries.order_by("pk")] == ["waiting", "delivered"]


def test_a_receiver_that_keeps_failing_rests_and_is_switched_off_in_the_end(receiver, alice, bob, tides):
    webhook = hook(bob, receiver)
    receiver.statuses = [500]
    for number in range(20):
        talk.create_discussion(repo=tides, by=alice.user, title=f"Tide {number}")
    run_announcements()
    start = timezone.now()
    assert sum(send_due(now=start + timedelta(seconds=seconds)) for seconds in range(1, 50)) == 4, "then it rests"
    hours = 0
    while not webhook.is_disabled:
        hours += 1
        assert send_due(now=start + timedelta(hours=hours)) <= 1
        webhook.refresh_from_db()
    assert (len(receiver.requests), webhook.failures) == (DISABLED_AFTER, DISABLED_AFTER)
    assert 24 < hours < 72
    assert "in a row" in webhook.disabled_reason
    note = Notification.objects.get(user=bob.user, text__contains="switched off")
    assert note.path == webhook.path
    assert not webhook.deliveries.filter(state="waiting").exists()
    talk.create_discussion(repo=tides, by=alice.user, title="One more")
    assert deliver(days=9) == 0
    receiver.statuses = [200]
    webhook = set_disabled(webhook=webhook, by=bob.user, is_disabled=False)
    talk.create_discussion(repo=tides, by=alice.user, title="And one")
    assert (webhook.failures, deliver()) == (0, 1)


def test_the_address_that_is_allowed_no_more_is_not_reached(receiver, alice, bob, tides, settings):
    webhook = hook(bob, receiver)
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    assert receiver.requests == []
    assert "not public" in webhook.deliveries.get().problem


def test_a_worker_that_died_leaves_nothing_unsent(receiver, alice, bob, tides):
    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    run_announcements()
    now = timezone.now()
    assert len(deliveries.claim_due(now)) == 1  # and nothing more is heard of it
    assert send_due(now=now + timedelta(seconds=5)) == 0
    assert send_due(now=now + timedelta(seconds=deliveries.CLAIM_S + 1)) == 1


def test_an_event_that_breaks_the_hub_itself_does_not_hold_up_the_others(receiver, alice, bob, tides, monkeypatch):
    webhook = hook(bob, receiver)
    discussion = talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    talk.create_discussion(repo=tides, by=alice.user, title="Spring tides")
    run_announcements()
    whole = deliveries.make_payload

    def break_once(event, *more):
        if event["discussion"] == discussion.pk:
            raise OSError("a disk is gone")
        return whole(event, *more)

    monkeypatch.setattr(deliveries, "make_payload", break_once)
    assert (deliver(), deliver(days=2)) == (1, 0)
    assert [row.state for row in webhook.deliveries.order_by("pk")] == ["failed", "delivered"]


def test_an_event_is_planned_once_though_its_job_runs_twice(receiver, alice, bob, tides):
    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    job = Job.objects.get(kind="webhooks.announce")
    for _ in range(2):
        deliveries.plan(job.payload["event"], str(job.pk), now=timezone.now())
    assert Delivery.objects.count() == 1


def test_a_secret_that_cannot_be_read_any_more_is_told_and_nothing_goes_out_unsigned(
    receiver, alice, bob, tides, settings
):
    webhook = hook(bob, receiver, secret="high-water")
    settings.SECRET_KEY = "another key than before"
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    assert receiver.requests == []
    assert "set the secret again" in webhook.deliveries.get().problem
    update_webhook(webhook=webhook, by=bob.user, secret="low-water")
    assert deliver(hours=1) == 1
    assert receiver.requests[0][0]["X-Webhook-Secret"] == "low-water"
