"""Webhooks in the words of the stock client. Each person sees and changes their own."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.permissions import can, require
from hub.api.hf.endpoints import View, answer, endpoint, read_json, signed_in, text_of
from hub.common.errors import InvalidInput, NotSupported
from hub.community.webhooks import registry
from hub.community.webhooks.models import Webhook
from hub.community.webhooks.signing import unseal


def describe(webhook: Webhook, request: HttpRequest) -> dict[str, Any]:
    """The secret is shown to who may change it: not to a token that only reads."""
    reader = request.user
    secret = unseal(webhook.sealed_secret) if can(reader, "write", reader) else None
    watched = [{"type": thing.type, "name": name} for thing, name in registry.named_things(webhook, reader)]
    return {
        "id": webhook.key,
        "url": webhook.url,
        "watched": watched,
        "domains": webhook.domains,
        "secret": secret or None,
        "disabled": webhook.is_disabled,
    }


def answer_one(webhook: Webhook, request: HttpRequest) -> HttpResponse:
    return answer({"webhook": describe(webhook, request)})


@signed_in
def list_webhooks(request: HttpRequest) -> HttpResponse:
    require(request.user, "read", request.user)
    return answer([describe(webhook, request) for webhook in request.user.webhooks.order_by("pk")])


@signed_in
def create_webhook(request: HttpRequest) -> HttpResponse:
    body = read_json(request)
    refuse_jobs(body)
    domains = read_domains(body)
    webhook = registry.create_webhook(
        by=request.user,
        url=text_of(body, "url"),
        watched=read_watched(body),
        domains=registry.DOMAINS if domains is None else domains,
        secret=text_of(body, "secret", default=""),
    )
    return answer_one(webhook, request)


@signed_in
def show_webhook(request: HttpRequest, *, key: str) -> HttpResponse:
    require(request.user, "read", request.user)
    return answer_one(registry.find_webhook(key, request.user), request)


@signed_in
def update_webhook(request: HttpRequest, *, key: str) -> HttpResponse:
    """The client sends an empty `watched` where nothing is said of it: it stays as it is."""
    webhook = registry.find_webhook(key, request.user)
    body = read_json(request)
    refuse_jobs(body)
    changed = registry.update_webhook(
        webhook=webhook,
        by=request.user,
        url=text_of(body, "url") if body.get("url") is not None else None,
        watched=read_watched(body) or None,
        domains=read_domains(body),
        secret=text_of(body, "secret") if body.get("secret") is not None else None,
    )
    return answer_one(changed, request)


@signed_in
def delete_webhook(request: HttpRequest, *, key: str) -> HttpResponse:
    registry.delete_webhook(webhook=registry.find_webhook(key, request.user), by=request.user)
    return answer({"success": True})


def switch(is_disabled: bool) -> View:
    @signed_in
    def change(request: HttpRequest, *, key: str) -> HttpResponse:
        webhook = registry.find_webhook(key, request.user)
        return answer_one(registry.set_disabled(webhook=webhook, by=request.user, is_disabled=is_disabled), request)

    return change


def refuse_jobs(body: dict[str, Any]) -> None:
    if body.get("jobSourceId") is not None:
        raise NotSupported("This hub has no rented machines for jobs; give the 'url' of a receiver instead.")


def read_watched(body: dict[str, Any]) -> list[tuple[str, str]]:
    items = body.get("watched")
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidInput('\'watched\' must be a list like [{"type": "dataset", "name": "alice/tides"}].')
    return [(text_of(item, "type"), text_of(item, "name")) for item in items]


def read_domains(body: dict[str, Any]) -> list[str] | None:
    domains = body.get("domains")
    if domains is not None and not (isinstance(domains, list) and all(isinstance(name, str) for name in domains)):
        raise InvalidInput('\'domains\' must be a list like ["repo", "discussion"].')
    return domains


many = endpoint(GET=list_webhooks, POST=create_webhook)
one = endpoint(GET=show_webhook, POST=update_webhook, DELETE=delete_webhook)
enable = endpoint(POST=switch(False))
disable = endpoint(POST=switch(True))
