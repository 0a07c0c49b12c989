"""Which webhooks watch a repository. Whether they may hear of it is another question (payloads.py)."""

from typing import Any

from django.db.models import Q, QuerySet

from hub.community.webhooks.models import WatchedThing, Webhook
from hub.repos.models import Repo

FLAGS = {"repo": "watches_repos", "discussion": "watches_discussions"}


def watched_things(repo: Repo, domain: str, *, former: dict[str, Any] | None = None) -> QuerySet[WatchedThing]:
    """`former` = {"user": key, "organization": key} of whom it belonged to before it moved."""
    leads_here = Q(repo_id=repo.pk)
    owners = [(repo.owner_user_id, repo.owner_organization_id)]
    if former:
        owners.append((former.get("user"), former.get("organization")))
    for user, organization in owners:
        leads_here |= Q(user_id=user) if user else Q(organization_id=organization)
    listening = {"webhook__is_disabled": False, "webhook__owner__is_active": True, f"webhook__{FLAGS[domain]}": True}
    return WatchedThing.objects.filter(leads_here, **listening).order_by()


def has_watchers(repo: Repo, domain: str, *, former: dict[str, Any] | None = None) -> bool:
    return watched_things(repo, domain, former=former).exists()


def watching(repo: Repo, domain: str, *, former: dict[str, Any] | None = None) -> QuerySet[Webhook]:
    keys = watched_things(repo, domain, former=former).values("webhook_id")
    return Webhook.objects.filter(pk__in=keys).select_related("owner").order_by("pk")


def repos_of(thing: WatchedThing) -> Q:
    """Which repositories are watched with it."""
    if thing.repo_id is not None:
        return Q(pk=thing.repo_id)
    return Q(owner_user_id=thing.user_id) if thing.user_id else Q(owner_organization_id=thing.organization_id)
