"""Sending: who is told, when it is tried again, when the hub gives up.

A worker takes what is due, posts it all at once in threads that touch no database, and writes down what came of it; so a
pass takes no longer than its slowest receiver may (posting.TIMEOUT_S). A receiver that fails several times in a row rests,
with one attempt each time it wakes; in the end its webhook is switched off and its owner told."""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from hub.community.models import Notification
from hub.community.webhooks.addresses import NotReachable
from hub.community.webhooks.models import Delivery, Webhook
from hub.community.webhooks.payloads import Untold, find_repo_of, make_payload
from hub.community.webhooks.posting import TIMEOUT_S, Answer, post
from hub.community.webhooks.registry import stop_waiting
from hub.community.webhooks.signing import sign, unseal
from hub.community.webhooks.watchers import watching
from hub.repos.models import Repo

log = logging.getLogger(__name__)

PATIENCE_S = (60, 5 * 60, 30 * 60, 2 * 3600, 6 * 3600)  # until a delivery is tried again; after that it has failed
RESTS_AFTER = 3  # failures in a row
DISABLED_AFTER = 12  # failures in a row; with the rests between them about a day and a half
AT_ONCE = 32  # deliveries of one pass
AT_ONCE_EACH = 4  # of them for one webhook; one where the last attempt failed
CLAIM_S = 60  # a worker that is not heard of for this long has died; longer than a pass
MAX_WAITING = 1000  # of one webhook: what happens beyond is not told
USER_AGENT = "model-commons-webhooks/1"


def plan(event: dict[str, Any], event_key: str, *, now: datetime) -> int:
    """A delivery for each webhook that watches and may hear of it now; how many there are. Safe to repeat.

    In no transaction: there may be thousands, and nobody else shall wait while each is judged."""
    repo = find_repo_of(event)
    rows = []
    for webhook in listening(event, repo):
        if webhook.deliveries.filter(state=Delivery.State.WAITING).count() >= MAX_WAITING:
            continue
        try:
            make_payload(event, webhook, repo)
        except Untold:
            continue
        rows.append(Delivery(webhook=webhook, event=event, event_key=event_key, created_at=now, next_at=now))
    Delivery.objects.bulk_create(rows, ignore_conflicts=True, batch_size=200)
    return len(rows)


def listening(event: dict[str, Any], repo: Repo | None) -> Any:
    if "webhooks" in event:
        return Webhook.objects.filter(pk__in=event["webhooks"]).select_related("owner")
    if repo is None:
        return []
    return watching(repo, event["scope"].partition(".")[0], former=event.get("former"))


# --- sending


@dataclass
class Sending:
    """One POST of a pass. The thread that sends it touches nothing else."""

    delivery: Delivery
    headers: dict[str, str]
    body: bytes
    started: float = 0.0
    ended: float = 0.0
    answer: Answer | None = None
    problem: str = ""
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        self.started = time.monotonic()
        try:
            self.answer = post(self.delivery.webhook.url, headers=self.headers, body=self.body)
        except NotReachable as problem:
            self.problem = str(problem)
        except Exception:
            log.exception("A webhook could not be sent")
            self.problem = "The hub could not send it; its log says why."
        self.ended = time.monotonic()
        self.done.set()


def send_due(*, now: datetime, check: Callable[[], None] = lambda: None) -> int:
    """One pass over what is due: claim, send, note. How many were sent; `check` raises when the worker shall stop."""
    claimed = claim_due(now)
    sendings = [sending for delivery in claimed if (sending := prepare_safely(delivery, now)) is not None]
    for sending in sendings:
        threading.Thread(target=sending.run, daemon=True).start()
    limit = time.monotonic() + TIMEOUT_S + 2  # looking up a name has no time limit of its own
    for sending in sendings:
        sending.done.wait(max(limit - time.monotonic(), 0))
    check()
    for sending in sendings:
        record(sending, now=now)
    return len(sendings)


def due_at(now: datetime) -> QuerySet[Delivery]:
    """What may be sent: a receiver that rests gets only what its owner sends by hand."""
    is_awake = Q(webhook__rests_until__isnull=True) | Q(webhook__rests_until__lte=now) | Q(by_hand=True)
    waiting = Delivery.objects.filter(is_awake, state=Delivery.State.WAITING, next_at__lte=now)
    return waiting.filter(webhook__is_disabled=False, webhook__owner__is_active=True)


def claim_due(now: datetime) -> list[Delivery]:
    """What this worker sends now, and no other does. Webhooks take turns."""
    is_free = Q(claimed_until__isnull=True) | Q(claimed_until__lt=now)
    due = due_at(now).filter(is_free)
    turns = Webhook.objects.filter(pk__in=due.values("webhook_id")).select_related("owner")
    claimed: list[Delivery] = []
    for webhook in turns.order_by(F("tried_at").asc(nulls_first=True), "pk")[:AT_ONCE]:
        # What has failed before waits behind what has not: one event that a receiver cannot take must not hold up the others.
        rows = due.filter(webhook=webhook).order_by("-by_hand", "attempts", "next_at", "pk")
        for delivery in rows[: 1 if webhook.failures else AT_ONCE_EACH]:
            mine = Delivery.objects.filter(is_free, pk=delivery.pk, state=delivery.state, attempts=delivery.attempts)
            if len(claimed) < AT_ONCE and mine.update(claimed_until=now + timedelta(seconds=CLAIM_S)):
                delivery.webhook = webhook
                claimed.append(delivery)
    Webhook.objects.filter(pk__in={delivery.webhook_id for delivery in claimed}).update(tried_at=now)
    return claimed


def has_due(now: datetime) -> bool:
    return due_at(now).filter(claimed_until__isnull=True).exists()


def prepare_safely(delivery: Delivery, now: datetime) -> Sending | None:
    """A fault of our own with one event must not hold up the others, nor come again for ever."""
    try:
        return prepare(delivery, now)
    except Exception:
        log.exception("An event for a webhook could not be described")
        Delivery.objects.filter(pk=delivery.pk).update(
            state=Delivery.State.FAILED,
            problem="The hub could not describe what happened; its log says why.",
            tried_at=now,
        )
        return None


def prepare(delivery: Delivery, now: datetime) -> Sending | None:
    """The payload as its owner may be told this very moment; None when there is nothing to tell any more."""
    try:
        payload = make_payload(delivery.event, delivery.webhook, find_repo_of(delivery.event))
    except Untold as problem:
        drop(delivery, str(problem))
        return None
    secret = unseal(delivery.webhook.sealed_secret)
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    Delivery.objects.filter(pk=delivery.pk).update(
        payload=body.decode(), attempts=F("attempts") + 1, tried_at=now, answer="", status_code=None, duration_ms=None
    )
    delivery.attempts += 1
    if secret is None:
        problem = "Its secret cannot be read any more, as the hub's own key was changed; set the secret again."
        sending = Sending(delivery, {}, body, problem=problem)
        record(sending, now=now)
        return None
    return Sending(delivery, headers_of(delivery, secret, body, int(now.timestamp())), body)


def headers_of(delivery: Delivery, secret: str, body: bytes, timestamp: int) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": USER_AGENT,
        "X-Webhook-Delivery": delivery.key,  # the same at each attempt
        "X-Webhook-Timestamp": str(timestamp),
    }
    if secret:
        headers["X-Webhook-Secret"] = secret  # what WebhooksServer of the stock client compares
        headers["X-Webhook-Signature"] = sign(secret, timestamp, body)
    return headers


def drop(delivery: Delivery, problem: str) -> None:
    """What was never sent leaves no trace: even that something happened is not for them to know."""
    if delivery.attempts:
        Delivery.objects.filter(pk=delivery.pk).update(state=Delivery.State.FAILED, problem=problem, claimed_until=None)
    else:
        delivery.delete()


# --- what came of it


@transaction.atomic
def record(sending: Sending, *, now: datetime) -> None:
    webhook = Webhook.objects.select_for_update().get(pk=sending.delivery.webhook_id)
    delivery = Delivery.objects.select_for_update().filter(pk=sending.delivery.pk).first()
    if delivery is None or delivery.state != Delivery.State.WAITING:
        return  # deleted or stopped meanwhile
    answer = sending.answer
    delivery.claimed_until = None
    if sending.ended:
        delivery.duration_ms = int((sending.ended - sending.started) * 1000)
    if answer is not None:
        delivery.status_code, delivery.answer = answer.status, answer.excerpt
    if answer is not None and answer.is_success:
        delivery.state, delivery.problem = Delivery.State.DELIVERED, ""
        webhook.failures, webhook.rests_until = 0, None
    else:
        delivery.problem = describe_problem(sending)
        try_again_or_fail(delivery, now)
        note_failure(webhook, now)
    delivery.save()
    webhook.save(update_fields=["failures", "rests_until", "is_disabled", "disabled_reason"])
    if webhook.is_disabled:
        stop_waiting(webhook, "The webhook was switched off after many failures.")


def describe_problem(sending: Sending) -> str:
    if sending.answer is None:
        return sending.problem or f"It could not be sent within {TIMEOUT_S:g} seconds."
    status = sending.answer.status
    if 300 <= status < 400:
        return (
            f"The receiver answered {status}, a redirect, which webhooks do not follow; give the address it leads to."
        )
    return f"The receiver answered {status}; it has to answer 200 to 299."


def try_again_or_fail(delivery: Delivery, now: datetime) -> None:
    """What is sent by hand is tried once: somebody looks at it."""
    if delivery.by_hand or delivery.attempts > len(PATIENCE_S):
        delivery.state = Delivery.State.FAILED
    else:
        delivery.next_at = now + timedelta(seconds=PATIENCE_S[delivery.attempts - 1])


def note_failure(webhook: Webhook, now: datetime) -> None:
    webhook.failures += 1
    if webhook.failures >= DISABLED_AFTER and not webhook.is_disabled:
        webhook.is_disabled = True
        webhook.disabled_reason = f"Switched off by the hub: {webhook.failures} attempts in a row had failed."
        text = f"A webhook of yours was switched off after {webhook.failures} failures in a row: {webhook.url[:200]}"
        Notification.objects.create(user_id=webhook.owner_id, text=text[:300], path=webhook.path, at=now)
    elif webhook.failures >= RESTS_AFTER:
        step = min(webhook.failures - RESTS_AFTER, len(PATIENCE_S) - 1)
        webhook.rests_until = now + timedelta(seconds=PATIENCE_S[step])
