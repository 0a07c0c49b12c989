"""Deliveries that the owner asks for: a test, and an event once more."""

from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.common.errors import InvalidInput, TooManyAttempts
from hub.common.jobs import enqueue
from hub.community.webhooks.models import Delivery, Webhook
from hub.community.webhooks.payloads import Untold, find_repo_of, make_payload
from hub.community.webhooks.watchers import repos_of
from hub.repos.models import Repo

LIMIT = 20  # in WINDOW, of one webhook: nobody is flooded by pressing a button
WINDOW = timedelta(minutes=10)


def send_test(*, webhook: Webhook, by: User, now: datetime) -> Delivery:
    """An event of the scope "ping" about something it watches. Raises InvalidInput when nothing of that can be read."""
    for thing in webhook.watched.all():
        repo = Repo.objects.visible_to(by).filter(repos_of(thing)).order_by("pk").first()
        if repo is not None:
            event = {"scope": "ping", "action": "update", "repo": repo.pk, "was_private": repo.is_private}
            return queue_by_hand(webhook, event, now=now)
    raise InvalidInput("There is no repository yet among what it watches that a test could speak of; make one first.")


def send_again(*, delivery: Delivery, now: datetime) -> Delivery:
    """The same event once more, told as it stands now. Raises InvalidInput when its owner may not hear of it any more."""
    try:
        make_payload(delivery.event, delivery.webhook, find_repo_of(delivery.event))
    except Untold as problem:
        raise InvalidInput(str(problem)) from None
    return queue_by_hand(delivery.webhook, delivery.event, now=now)


@transaction.atomic
def queue_by_hand(webhook: Webhook, event: dict[str, Any], *, now: datetime) -> Delivery:
    """It goes first, and at once, even to a receiver that rests."""
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk)
    if webhook.is_disabled:
        raise InvalidInput("This webhook is paused; let it go on first.")
    recent = webhook.deliveries.filter(by_hand=True, created_at__gt=now - WINDOW).count()
    if recent >= LIMIT:
        raise TooManyAttempts(
            f"{recent} deliveries were sent by hand within ten minutes; wait a little.", headers={"Retry-After": "600"}
        )
    delivery = Delivery(webhook=webhook, event=event, by_hand=True, created_at=now, next_at=now)
    delivery.event_key = f"hand{delivery.key}"
    delivery.save()
    enqueue("webhooks.deliver")
    return delivery
