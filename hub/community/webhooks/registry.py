"""Making, changing and ending webhooks: one set of rules for the API and the pages."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from hub.accounts.models import AccessToken, Organization, User
from hub.accounts.names import find_owner
from hub.accounts.permissions import can, require
from hub.common.errors import Forbidden, InvalidInput, NotFound
from hub.community.webhooks.addresses import read_url
from hub.community.webhooks.models import Delivery, WatchedThing, Webhook
from hub.community.webhooks.signing import check_secret, seal
from hub.repos.find import find_repo
from hub.repos.models import Repo

MAX_WEBHOOKS = 20  # of one person
MAX_WATCHED = 100  # things of one webhook
DOMAINS = ("repo", "discussion")
OWNERS = {"user": User, "org": Organization}


def may_change(by: Any) -> None:
    """A webhook tells all that its owner may read: more than a fine-grained token, and for longer than any token."""
    require(by, "write", by)
    token = getattr(by, "token", None)
    if token is not None and token.role == AccessToken.Role.FINE_GRAINED:
        raise Forbidden(
            f"The token {token.name!r} is fine-grained, and a webhook tells all that you may read; use a token that may write."
        )


@transaction.atomic
def create_webhook(
    *, by: User, url: str, watched: Iterable[tuple[str, str]], domains: Iterable[str] = DOMAINS, secret: str = ""
) -> Webhook:
    """`watched` are (type, name) as of the client: ("org", "tidewatch"), ("dataset", "alice/tides").

    Raises InvalidInput for an address that is not public, and for what is unknown or not to be read by `by`."""
    may_change(by)
    User.objects.select_for_update().get(pk=by.pk)  # two requests at once must not pass the limit together
    if by.webhooks.count() >= MAX_WEBHOOKS:
        raise InvalidInput(f"You have {MAX_WEBHOOKS} webhooks, which is the most; delete one that you do not need.")
    read_url(url)
    webhook = Webhook.objects.create(
        owner_id=by.pk, url=url, sealed_secret=seal(check_secret(secret)), **read_domains(domains)
    )
    watch(webhook, find_things(watched, by))
    return webhook


def find_webhook(key: str, by: User) -> Webhook:
    """Raises NotFound also for somebody else's."""
    webhook = Webhook.objects.filter(key=key[:64], owner_id=by.pk).first() if by.is_authenticated else None
    if webhook is None:
        raise NotFound(f"There is no webhook {key[:64]!r} among yours.")
    return webhook


@transaction.atomic
def update_webhook(
    *,
    webhook: Webhook,
    by: User,
    url: str | None = None,
    watched: Iterable[tuple[str, str]] | None = None,
    domains: Iterable[str] | None = None,
    secret: str | None = None,
) -> Webhook:
    """What is None stays. Another address starts with a clean slate of failures."""
    may_change(by)
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk, owner_id=by.pk)
    if url is not None and url != webhook.url:
        read_url(url)
        webhook.url, webhook.failures, webhook.rests_until = url, 0, None
    if domains is not None:
        for name, value in read_domains(domains).items():
            setattr(webhook, name, value)
    if secret is not None:
        webhook.sealed_secret = seal(check_secret(secret))
    webhook.save()
    if watched is not None:
        keep_and_watch(webhook, list(watched), by)
    return webhook


@transaction.atomic
def set_disabled(*, webhook: Webhook, by: User, is_disabled: bool) -> Webhook:
    """Pause it, or let it go on: what happened meanwhile is not told, and earlier failures are forgotten."""
    may_change(by)
    webhook = Webhook.objects.select_for_update().get(pk=webhook.pk, owner_id=by.pk)
    webhook.is_disabled, webhook.disabled_reason = is_disabled, ""
    webhook.failures, webhook.rests_until = 0, None
    webhook.save()
    if is_disabled:
        stop_waiting(webhook, "The webhook was paused.")
    return webhook


def delete_webhook(*, webhook: Webhook, by: User) -> None:
    may_change(by)
    Webhook.objects.filter(pk=webhook.pk, owner_id=by.pk).delete()


def stop_waiting(webhook: Webhook, problem: str) -> None:
    """What was never sent goes; what was tried is kept as failed."""
    waiting = webhook.deliveries.filter(state=Delivery.State.WAITING)
    waiting.filter(attempts=0).delete()
    waiting.update(state=Delivery.State.FAILED, problem=problem)


def read_domains(domains: Iterable[str]) -> dict[str, bool]:
    """The stock client says "discussion"; its documentation and some programs say "discussions"."""
    wanted = {"discussion" if name == "discussions" else name for name in domains}
    if unknown := wanted - set(DOMAINS):
        raise InvalidInput(f"The domain {str(min(unknown))[:40]!r} does not exist; use {' and '.join(DOMAINS)}.")
    if not wanted:
        raise InvalidInput(f"Choose at least one domain: {' or '.join(DOMAINS)}.")
    return {"watches_repos": "repo" in wanted, "watches_discussions": "discussion" in wanted}


def watch(webhook: Webhook, things: list[WatchedThing]) -> None:
    if not things:
        raise InvalidInput("The webhook watches nothing; name at least one person, organization or repository.")
    for thing in things:
        thing.webhook = webhook
    WatchedThing.objects.bulk_create(things)


def keep_and_watch(webhook: Webhook, watched: list[tuple[str, str]], by: User) -> None:
    """The new list. A thing that was in the old one under the same name stays, even if its owner cannot find it any more."""
    old = {(thing.type, thing.name): thing for thing in webhook.watched.all()}
    old |= {(thing.type, name): thing for thing, name in named_things(webhook, by)}
    kept = [old[pair] for pair in watched if pair in old]
    new = [pair for pair in watched if pair not in old]
    if len(watched) > MAX_WATCHED:
        raise InvalidInput(f"A webhook watches at most {MAX_WATCHED} things; watch their owner instead.")
    webhook.watched.exclude(pk__in=[thing.pk for thing in kept]).delete()
    if new or not kept:
        watch(webhook, find_things(new, by))


def find_things(watched: Iterable[tuple[str, str]], by: User) -> list[WatchedThing]:
    """Rows that are not saved yet. What `by` may not read looks like what is not there."""
    pairs = list(dict.fromkeys(watched))
    if len(pairs) > MAX_WATCHED:
        raise InvalidInput(f"A webhook watches at most {MAX_WATCHED} things; watch their owner instead.")
    found: dict[tuple[str, int], WatchedThing] = {}
    for type, name in pairs:
        thing = find_thing(type, name, by)
        found.setdefault((type, thing.user_id or thing.organization_id or thing.repo_id or 0), thing)
    return list(found.values())


def find_thing(type: str, name: str, by: User) -> WatchedThing:
    try:
        if type in OWNERS:
            owner = find_owner(name)
            if not isinstance(owner, OWNERS[type]):
                raise NotFound(f"{name[:100]!r} is no {'person' if type == 'user' else 'organization'} here.")
            field = "user" if type == "user" else "organization"
            return WatchedThing(type=type, name=owner.name, **{field: owner})
        if type in Repo.Type.values:
            repo = find_repo(type, name, by)
            return WatchedThing(type=type, name=repo.full_name, repo=repo)
    except NotFound as problem:
        raise InvalidInput(f"It cannot be watched: {problem.message}") from None
    raise InvalidInput(f"The type {type[:40]!r} cannot be watched here; use user, org, model, dataset or space.")


def named_things(webhook: Webhook, reader: User) -> list[tuple[WatchedThing, str]]:
    """What it watches, each with its present name; a repository that `reader` may not read any more with its former one."""
    rows = webhook.watched.select_related("user", "organization", "repo__owner_user", "repo__owner_organization")
    return [(thing, present_name(thing, reader)) for thing in rows.prefetch_related("repo__collaborators")]


def present_name(thing: WatchedThing, reader: User) -> str:
    if thing.repo is not None:
        return thing.repo.full_name if can(reader, "read", thing.repo) else thing.name
    return (thing.user or thing.organization).name  # type: ignore[union-attr]
