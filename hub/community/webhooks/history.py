"""What a webhook remembers: bounded in number and in time, and shown only as far as its owner may still read it."""

import json
from datetime import datetime, timedelta

from django.db.models import Max

from hub.community.webhooks.models import Delivery, Webhook
from hub.community.webhooks.payloads import Untold, find_repo_of, make_payload

KEPT = 100  # deliveries of one webhook that have ended
KEPT_FOR = timedelta(days=30)
WAITS_AT_MOST = timedelta(days=3)


def prune(*, now: datetime) -> None:
    """The history of a webhook is bounded in number and in time, and nothing waits for ever."""
    Delivery.objects.filter(state=Delivery.State.WAITING, attempts=0, created_at__lt=now - WAITS_AT_MOST).delete()
    Delivery.objects.filter(created_at__lt=now - KEPT_FOR).delete()
    ended = Delivery.objects.exclude(state=Delivery.State.WAITING)
    for webhook in Webhook.objects.annotate(newest=Max("deliveries__pk")).filter(newest__isnull=False):
        rows = ended.filter(webhook=webhook).order_by("-pk")
        oldest_kept = rows.values_list("pk", flat=True)[KEPT - 1 : KEPT].first()
        if oldest_kept is not None:
            rows.filter(pk__lt=oldest_kept).delete()


def told_payload(delivery: Delivery) -> str | None:
    """What was sent, for the page; None when its owner may not read it any more. Words that were hidden since are left out."""
    try:
        now = make_payload(delivery.event, delivery.webhook, find_repo_of(delivery.event))
    except Untold:
        return None
    if not delivery.payload:
        return ""
    payload = json.loads(delivery.payload)
    if now.get("comment", {}).get("hidden"):
        payload.get("comment", {}).pop("content", None)
    return json.dumps(payload, ensure_ascii=False, indent=2)
