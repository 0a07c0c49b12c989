"""Webhooks, what they watch, and what was sent."""

import secrets
import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.repos.models import Repo

__all__ = ["Delivery", "WatchedThing", "Webhook"]


def new_key() -> str:
    return secrets.token_hex(12)


def new_delivery_key() -> str:
    return uuid.uuid4().hex


class Webhook(models.Model):
    """An address of its owner's that hears what its owner may read."""

    key = models.CharField(max_length=24, unique=True, default=new_key, editable=False)  # its public id
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=2000)
    watches_repos = models.BooleanField(default=True)  # the client's domain "repo"
    watches_discussions = models.BooleanField(default=True)  # the client's domain "discussion"
    sealed_secret = models.TextField(blank=True)  # encrypted (signing.seal): the owner may read it again
    is_disabled = models.BooleanField(default=False)
    disabled_reason = models.CharField(max_length=300, blank=True)  # one sentence when the hub did it
    failures = models.PositiveIntegerField(default=0)  # in a row
    rests_until = models.DateTimeField(null=True)  # after several failures in a row nothing is tried before
    tried_at = models.DateTimeField(null=True)  # turns between webhooks: the one that waited longest comes first
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"webhook {self.key}"

    @property
    def domains(self) -> list[str]:
        return ["repo"] * self.watches_repos + ["discussion"] * self.watches_discussions

    @property
    def path(self) -> str:
        return f"/settings/webhooks/{self.key}"


class WatchedThing(models.Model):
    """A person or organization, whose repositories are all watched, or one repository. It is followed under its new name."""

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="watched")
    type = models.CharField(max_length=8)  # user | org | model | dataset | space
    name = models.CharField(
        max_length=200
    )  # when it was added: all that is told of what the owner may not read any more
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, null=True, on_delete=models.CASCADE, related_name="+")
    repo = models.ForeignKey(Repo, null=True, on_delete=models.CASCADE, related_name="+")

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(user__isnull=False, organization__isnull=True, repo__isnull=True)
                | Q(user__isnull=True, organization__isnull=False, repo__isnull=True)
                | Q(user__isnull=True, organization__isnull=True, repo__isnull=False),
                name="watched_is_one_thing",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


class Delivery(models.Model):
    """One event for one webhook. `event` are its facts (listeners.py); the payload is made anew for each attempt, of what
    the owner may read then, and the last one that was sent is kept."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"

    key = models.CharField(max_length=32, unique=True, default=new_delivery_key, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.JSONField()
    event_key = models.CharField(max_length=36)  # of the job that announced it, or one of its own when sent by hand
    by_hand = models.BooleanField(default=False)
    state = models.CharField(max_length=9, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)  # a worker is sending it
    payload = models.TextField(blank=True)  # JSON
    status_code = models.PositiveIntegerField(null=True)
    answer = models.TextField(blank=True)  # the first words of it
    problem = models.TextField(blank=True)  # one sentence for the owner
    duration_ms = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    tried_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["webhook", "event_key"], name="delivery_once")]
        indexes = [
            models.Index(fields=["state", "next_at"], name="delivery_due"),  # deliveries.claim_due
            models.Index(fields=["webhook", "-created_at"], name="delivery_history"),  # the page of a webhook
        ]

    def __str__(self) -> str:
        return f"{self.webhook} {self.scope} {self.key}"

    @property
    def scope(self) -> str:
        return str(self.event.get("scope", ""))

    @property
    def action(self) -> str:
        return str(self.event.get("action", ""))

    @property
    def path(self) -> str:
        return f"{self.webhook.path}/deliveries/{self.key}"
