"""Settings, Webhooks: what is watched, what was sent, and what came back."""

import secrets
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from hub.accounts.models import User
from hub.accounts.names import find_owner
from hub.common.errors import HubError, InvalidInput, NotFound
from hub.community.webhooks import by_hand, registry
from hub.community.webhooks.history import told_payload
from hub.community.webhooks.models import Delivery, Webhook
from hub.community.webhooks.payloads import Untold, find_repos_of, make_payload
from hub.community.webhooks.signing import unseal
from hub.web.forms import WebhookForm
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import require_browser

PER_PAGE = 20
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
OWNERS = {"user": "person", "org": "organization"}


@sensitive_post_parameters("secret")
@never_cache
def list_webhooks(request: HttpRequest) -> HttpResponse:
    """All of one's own, and a form for another."""
    user = require_browser(request)
    form = WebhookForm(request.POST or None, initial={"secret": secrets.token_urlsafe(24)})
    if request.method == "POST" and form.is_valid():
        webhook = save_webhook(form, user)
        if webhook is not None:
            messages.success(request, "The webhook is made. Send a test to see whether it arrives.")
            return HttpResponseRedirect(webhook.path)
    rows = [
        {"webhook": row, "watched": list_watched(row, user), "last": last_tried(row)}
        for row in user.webhooks.order_by("-pk")
    ]
    context = {"form": form, "part": "webhooks", "rows": rows}
    return render(request, "accounts/webhooks.html", context, status=400 if form.is_bound else 200)


def save_webhook(form: WebhookForm, user: User, webhook: Webhook | None = None) -> Webhook | None:
    """Made anew or changed; None after a word in the form about what is wrong."""
    data = form.cleaned_data
    try:
        given = {key: data[key] for key in ("url", "domains", "secret")}
        given["watched"] = read_watched(data["watched"])
        if webhook is None:
            return registry.create_webhook(by=user, **given)
        return registry.update_webhook(webhook=webhook, by=user, **given)
    except HubError as problem:
        form.add_error(None, problem.message)
        return None


def read_watched(text: str) -> list[tuple[str, str]]:
    """(type, name) of each line."""
    found = []
    for line in text.splitlines():
        parts = line.strip().strip("/").split("/")
        if parts == [""]:
            continue
        if len(parts) == 1:
            found.append(("user" if isinstance(find_owner(parts[0][:200]), User) else "org", parts[0]))
        elif len(parts) == 3 and parts[0] in KINDS:
            found.append((KINDS[parts[0]], f"{parts[1]}/{parts[2]}"))
        else:
            raise InvalidInput(
                f"{line.strip()[:100]!r} cannot be watched; write a name, or models/, datasets/ or spaces/ and NAME/REPOSITORY."
            )
    return found


def list_watched(webhook: Webhook, user: User) -> list[str]:
    """As `read_watched` reads it back."""
    named = registry.named_things(webhook, user)
    return [name if thing.type in OWNERS else f"{thing.type}s/{name}" for thing, name in named]


def last_tried(webhook: Webhook) -> Delivery | None:
    return webhook.deliveries.exclude(tried_at=None).order_by("-tried_at").first()


def is_resting(webhook: Webhook) -> bool:
    return webhook.rests_until is not None and webhook.rests_until > timezone.now()


def last_problem(webhook: Webhook) -> str:
    """Why the newest attempt failed; empty where it did not."""
    delivery = last_tried(webhook)
    return delivery.problem if delivery is not None else ""


@sensitive_post_parameters("secret")
@never_cache
def show_webhook(request: HttpRequest, key: str) -> HttpResponse:
    """One webhook: its state, its history, and a form to change it."""
    user = require_browser(request)
    webhook = registry.find_webhook(key, user)
    secret = unseal(webhook.sealed_secret)
    initial = {
        "url": webhook.url,
        "watched": "\n".join(list_watched(webhook, user)),
        "domains": webhook.domains,
        "secret": secret or "",
    }
    form = WebhookForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid() and save_webhook(form, user, webhook):
        messages.success(request, "The webhook is saved.")
        return HttpResponseRedirect(webhook.path)
    page = cut_numbered_page(request, webhook.deliveries.order_by("-created_at", "-pk"), PER_PAGE)
    context = {
        "form": form,
        "part": "webhooks",
        "webhook": webhook,
        "has_lost_secret": secret is None,
        "page": page,
        "rows": describe_history(list(page.object_list), webhook),
        "is_resting": is_resting(webhook),
        "last_problem": last_problem(webhook) if webhook.failures else "",
    }
    return render(request, "accounts/webhook.html", context, status=400 if form.is_bound else 200)


def describe_history(rows: list[Delivery], webhook: Webhook) -> list[dict[str, Any]]:
    """Each delivery and the name of its repository; what its owner may not read any more keeps its outcome and has none."""
    repos = find_repos_of([row.event for row in rows])
    described = []
    for row in rows:
        row.webhook = webhook
        try:
            name = make_payload(row.event, webhook, repos.get(row.event.get("repo", 0)))["repo"]["name"]
        except Untold:
            name = ""
        described.append({"delivery": row, "repo": name})
    return described


@require_POST
def act_on_webhook(request: HttpRequest, key: str, act: str) -> HttpResponse:
    user = require_browser(request)
    webhook = registry.find_webhook(key, user)
    try:
        if act == "delete":
            registry.delete_webhook(webhook=webhook, by=user)
            messages.success(request, "The webhook is deleted, and its history with it.")
            return HttpResponseRedirect("/settings/webhooks")
        if act == "test":
            delivery = by_hand.send_test(webhook=webhook, by=user, now=timezone.now())
            return HttpResponseRedirect(delivery.path)
        registry.set_disabled(webhook=webhook, by=user, is_disabled=act == "pause")
        messages.success(request, "The webhook is paused." if act == "pause" else "The webhook goes on.")
    except HubError as problem:
        messages.error(request, problem.message)
    return HttpResponseRedirect(webhook.path)


def find_delivery(key: str, delivery: str, user: User) -> Delivery:
    webhook = registry.find_webhook(key, user)
    row = webhook.deliveries.filter(key=delivery[:64]).first()
    if row is None:
        raise NotFound("There is no such delivery in the history of this webhook.")
    row.webhook = webhook
    return row


@never_cache
def show_delivery(request: HttpRequest, key: str, delivery: str) -> HttpResponse:
    """What was sent and what came back. While it waits, the page looks again by itself."""
    row = find_delivery(key, delivery, require_browser(request))
    context = {
        "part": "webhooks",
        "delivery": row,
        "webhook": row.webhook,
        "payload": told_payload(row),
        "is_on_its_way": row.state == Delivery.State.WAITING and row.attempts == 0,
        "is_resting": is_resting(row.webhook) and row.state == Delivery.State.WAITING and not row.by_hand,
        "last_problem": last_problem(row.webhook) if row.webhook.failures else "",
    }
    return render(request, "accounts/webhook_delivery.html", context)


@require_POST
def send_again(request: HttpRequest, key: str, delivery: str) -> HttpResponse:
    row = find_delivery(key, delivery, require_browser(request))
    try:
        again = by_hand.send_again(delivery=row, now=timezone.now())
    except HubError as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(row.path)
    return HttpResponseRedirect(again.path)
