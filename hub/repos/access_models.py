"""Who asked a gated repository for access, and what became of it."""

from django.db import models
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.models import Repo, new_key

__all__ = ["AccessRequest"]


class AccessRequest(models.Model):
    """One for each person and repository; it stays when the gate is opened, and counts again when it is closed."""

    class Status(models.TextChoices):
        PENDING = "pending", "Waits"
        ACCEPTED = "accepted", "Accepted"
        REJECTED = "rejected", "Rejected"

    key = models.CharField(max_length=32, unique=True, default=new_key, editable=False)  # `requestId` of the API
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="access_requests")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_requests")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.PENDING)
    fields = models.JSONField(default=dict)  # question of the card -> answer: text, or true for a ticked box
    is_granted = models.BooleanField(default=False)  # the person never asked, so their address is not shared
    reason = models.CharField(max_length=500, blank=True)  # why it was rejected, for who asked
    at = models.DateTimeField(default=timezone.now)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "user"], name="access_asked_once")]
        indexes = [models.Index(fields=["repo", "status", "-at"], name="access_requests")]  # lists of those who decide
