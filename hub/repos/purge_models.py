"""Files that were taken out of a repository for good, and which commit became which."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.models import Repo, new_key

__all__ = ["Purge", "PurgedCommit", "PurgedContent"]


class Purge(models.Model):
    """One decision of an admin, and how far it is carried out."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SETTLING = "settling", "Being finished"  # git is done; rows and bytes follow
        DONE = "done", "Done"
        FAILED = "failed", "Not carried out"

    UNFINISHED = ("waiting", "settling")

    key = models.CharField(max_length=32, unique=True, default=new_key, editable=False)
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="purges")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    paths = models.JSONField(default=list)  # where the files stood
    blobs = models.JSONField(default=list)  # git's ids, those of pointers among them
    files = models.JSONField(default=list)  # SHA-256 of large files
    is_kept_out = models.BooleanField(default=True)  # no door takes these contents into this repository again
    result = models.JSONField(default=dict)  # {"commits", "refs": {ref: [old, new]}, "removed_files", "kept_files"}
    problem = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repo"], condition=Q(state__in=("waiting", "settling")), name="purge_one_at_a_time"
            )
        ]


class PurgedContent(models.Model):
    """A content that is not taken here any more. `digest` as in Content: "git:<sha1>" or "sha256:<hex>"."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="purged_contents")
    purge = models.ForeignKey(Purge, on_delete=models.CASCADE, related_name="contents")
    digest = models.CharField(max_length=80)
    is_kept_out = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "digest"], name="purged_content_once")]


class PurgedCommit(models.Model):
    """A commit that is gone, and the one that stands in its place today."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="purged_commits")
    purge = models.ForeignKey(Purge, on_delete=models.CASCADE, related_name="commits")
    old = models.CharField(max_length=40)
    new = models.CharField(max_length=40)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "old"], name="purged_commit_once")]
        indexes = [models.Index(fields=["repo", "new"], name="purged_commit_new")]  # a second purge moves it on
