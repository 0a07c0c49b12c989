"""Webhooks of the tests, and what their receiver heard."""

from huggingface_hub import WebhookPayload

from hub.community.webhooks.registry import create_webhook


def hook(person, receiver, *, watched=(("user", "alice"),), **more):
    return create_webhook(by=person.user, url=receiver.url, watched=watched, **more)


def heard(receiver) -> list[str]:
    """What was told since the last look, in short; each payload is parsed by the stock client's own model."""
    payloads = [WebhookPayload.model_validate(payload) for payload in receiver.payloads]
    receiver.requests.clear()
    return sorted(f"{payload.event.scope} {payload.event.action}" for payload in payloads)
