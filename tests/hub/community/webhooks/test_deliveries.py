"""From what happens to what a receiver gets: for just this person, at just this moment, signed, and tried again."""

import hashlib
import hmac
import json
import re
from datetime import timedelta

import pytest
from django.utils import timezone
from huggingface_hub import WebhookPayload

from hub.common.errors import InvalidInput, TooManyAttempts
from hub.common.jobs import run
from hub.common.models import Job
from hub.community import discussions as talk
from hub.community.models import Notification
from hub.community.webhooks import by_hand, deliveries, history
from hub.community.webhooks.deliveries import DISABLED_AFTER, PATIENCE_S, send_due
from hub.community.webhooks.history import prune, told_payload
from hub.community.webhooks.models import Delivery
from hub.community.webhooks.registry import create_webhook, set_disabled, update_webhook
from hub.repos.clearance import set_clearance
from hub.repos.lifecycle import create_repo, delete_repo, move_repo, update_settings
from hub.repos.models import Repo
from tests.hub.receivers import deliver, run_announcements
from tests.hub.scenes import add, clear, make_repo, members_head, propose, public_head

pytestmark = pytest.mark.django_db


def hook(person, receiver, *, watched=(("user", "alice"),), **more):
    return create_webhook(by=person.user, url=receiver.url, watched=watched, **more)


def heard(receiver) -> list[str]:
    """What was told since the last look, in short; each payload is parsed by the stock client's own model."""
    payloads = [WebhookPayload.model_validate(payload) for payload in receiver.payloads]
    receiver.requests.clear()
    return sorted(f"{payload.event.scope} {payload.event.action}" for payload in payloads)


def test_a_comment_arrives_signed_and_in_the_words_of_the_stock_client(receiver, alice, bob, tides, settings):
    settings.PUBLIC_URL = "https://hub.example"
    webhook = hook(bob, receiver, secret="high-water", watched=[("dataset", "alice/tides")])
    discussion = talk.create_discussion(repo=tides, by=alice.user, title="Neap tides", text="Where are they?")
    talk.comment(discussion=discussion, by=alice.user, text="In the moon's quarters: ☾")
    assert deliver() == 2
    receiver.requests.sort(key=lambda request: b"moon" in request[1])  # several may be on their way at once
    headers, body = receiver.requests[-1]
    assert headers["Content-Type"].startswith("application/json")
    assert headers["X-Webhook-Secret"] == "high-water"
    told = headers["X-Webhook-Timestamp"].encode() + b"." + body
    assert headers["X-Webhook-Signature"] == "sha256=" + hmac.new(b"high-water", told, hashlib.sha256).hexdigest()
    assert headers["X-Webhook-Delivery"] == webhook.deliveries.order_by("-pk").first().key
    payload = WebhookPayload.model_validate_json(body)
    assert (payload.event.scope, payload.event.action, payload.webhook.id) == (
        "discussion.comment",
        "create",
        webhook.key,
    )
    assert (payload.repo.type, payload.repo.name, payload.repo.private) == ("dataset", "alice/tides", False)
    assert (payload.repo.head_sha, payload.repo.owner.id) == (public_head(tides), str(alice.user.pk))
    assert (payload.discussion.num, payload.discussion.title, payload.discussion.status) == (1, "Neap tides", "open")
    assert payload.discussion.url.web == "https://hub.example/datasets/alice/tides/discussions/1"
    assert (payload.comment.content, payload.comment.hidden) == ("In the moon's quarters: ☾", False)
    created = WebhookPayload.model_validate(receiver.payloads[0])
    assert (created.event.scope, created.event.action) == ("discussion", "create")
    assert created.comment.content == "Where are they?"


def test_the_check_that_the_documentation_gives_tells_the_hub_from_others(receiver, alice, bob, tides, settings):
    page = (settings.BASE_DIR / "docs" / "webhooks.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "is_from_the_hub" in block]
    told: dict = {}
    exec(code, told)
    hook(bob, receiver, secret="high-water")
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    deliver()
    ((headers, body),) = receiver.requests
    check = told["is_from_the_hub"]
    assert check(headers, body, "high-water")
    assert not check(headers, body + b" ", "high-water")
    assert not check(headers, body, "low-water")
    old = str(int(headers["X-Webhook-Timestamp"]) - 3600)
    assert not check(headers | {"X-Webhook-Timestamp": old}, body, "high-water")


def test_without_a_secret_nothing_is_signed(receiver, alice, bob, tides):
    hook(bob, receiver)
    talk.create_discussion(repo=tides, by=alice.user, title="Neap tides")
    assert deliver() == 1
    headers, _ = receiver.requests[0]
    assert {"X-Webhook-Secret", "X-Webhook-Signature"}.isdisjoint(headers)


def test_every_kind_of_event_is_told_to_a_member(receiver, alice, unscreened, settings):
    hook(alice, receiver)
    repo = make_repo(alice.user)
    deliver()
    assert "repo create" in heard(receiver)
    made = add(repo, alice.user, {"a.csv": "1\n"})
    deliver()
    (payload,) = receiver.payloads
    assert payload["updatedRefs"][0] | {"oldSha": ""} == {"ref": "refs/heads/main", "oldSha": "", "newSha": made.commit}
    assert payload["repo"]["headSha"] == made.commit
    assert heard(receiver) == ["repo.content update"]
    discussion = talk.create_discussion(repo=repo, by=alice.user, title="Neap tides")
    event = talk.comment(discussion=discussion, by=alice.user, text="When?")
    talk.edit_comment(discussion=discussion, event_id=str(event.pk), by=alice.user, text="When, then?")
    talk.hide_comment(discussion=discussion, event_id=str(event.pk), by=alice.user)
    talk.rename(discussion=discussion, by=alice.user, title="Spring tides")
    talk.set_status(discussion=discussion, by=alice.user, status="closed")
    deliver()
    assert all("content" not in payload.get("comment", {}) for payload in receiver.payloads), (
        "hidden before it was sent"
    )
    assert heard(receiver) == [
        "discussion create", "discussion update", "discussion update",
        "discussion.comment create", "discussion.comment update", "discussion.comment update",
    ]  # fmt: skip
    update_settings(repo=repo, by=alice.user, is_private=True)
    deliver()
    assert receiver.payloads[0]["updatedConfig"] == {"private": True}
    assert heard(receiver) == ["repo.config update"]
    move_repo(repo=repo, to="alice/waves", by=alice.user)
    deliver()
    assert (receiver.payloads[0]["repo"]["name"], receiver.payloads[0]["movedTo"]["name"]) == (
        "alice/tides",
        "alice/waves",
    )
    assert heard(receiver) == ["repo move"]
    delete_repo(repo=repo, by=alice.user)
    settings.PUBLIC_URL = "https://hub.example"  # the process that sends knows the address, others may not
    deliver()
    last = receiver.payloads[0]["repo"]
    assert (last["name"], last["url"]["web"]) == ("alice/waves", "https://hub.example/datasets/alice/waves")
    assert heard(receiver) == ["repo delete"]


def test_a_proposal_is_told_when_it_is_opened_and_merged(receiver, alice, bob, charlie, tides):
    from hub.community.pull_requests import merge

    hook(bob, receiver, domains=["discussion"])
    pull_request = propose(tides, charlie.user, {"b.csv": "2\n"}, title="Add b")
    deliver()
    (payload,) = receiver.payloads
    assert (payload["discussion"]["isPullRequest"], payload["discussion"]["changes"]) == (
        True,
        {"base": "refs/heads/main"},
    )
    assert heard(receiver) == ["discussion create"]
    clear(tides)
    merge(pull_request=pull_request, by=alice.user)
    deliver()
    changes = receiver.payloads[0]["discussion"]["changes"]
    assert (receiver.payloads[0]["discussion"]["status"], changes["mergeCommitId"]) == ("merged", public_head(tides))
    assert heard(receiver) == ["discussion update"]


@pytest.mark.parametrize(
    ("watched", "domains", "hears"),
    [
        ([("dataset", "alice/tides")], ["repo"], 1),
        ([("dataset", "alice/tides"), ("user", "alice")], ["repo"], 1),  # once, though watched twice
        ([("dataset", "alice/waves")], ["repo"], 0),
        ([("user", "bob")], ["repo"], 0),
        ([("user", "alice")], ["discussion"], 0),
    ],
)
def test_only_what_is_watched_is_told(receiver, alice, bob, charlie, tides, watched, domains, hears):
    make_repo(alice.user, "waves")
    hook(charlie, receiver, watched=watched, domains=domains)
    update_settings(repo=tides, by=alice.user, description="High and low water")
    assert deliver() == hears


def test_a_repository_of_an_organization_is_watched_with_it(receiver, organization, alice, bob, charlie, unscreened):
    hook(charlie, receiver, watched=[("org", "tidewatch")])
    create_repo(type="dataset", name="tides", by=alice.user, owner=organization)
    deliver()
    assert "repo create" in heard(receiver)


def test_where_nobody_watches_nothing_is_queued(alice, tides):
    add(tides, alice.user, {"a.csv": "1\n"})
    assert not Job.objects.filter(kind__startswith="webhooks.").exists()


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
