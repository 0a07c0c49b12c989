"""Large files: what the store holds, who brought it, who pays for it."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from hub.accounts.models import Organization, User
from hub.repos.models.repos import Repo


class StoredBlob(models.Model):
    """Index of the byte store: a large file by both of its names."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    xet_hash = models.CharField(max_length=64, db_index=True)  # reconstruction by Xet hash
    size = models.PositiveBigIntegerField()


class BlobXorb(models.Model):
    """Which xorbs a stored file is made of: decides who may learn that a chunk exists."""

    blob = models.ForeignKey(StoredBlob, on_delete=models.CASCADE, related_name="made_of")
    xorb = models.CharField(max_length=64, db_index=True)  # hub.repos.blobs.list_told_chunks

    class Meta:
        constraints = [models.UniqueConstraint(fields=["blob", "xorb"], name="blob_xorb_once")]


class UploadedBlob(models.Model):
    """Somebody has shown, byte for byte, to have this file, for this repository: they may commit it there."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="uploaded_blobs")
    sha256 = models.CharField(max_length=64)
    by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    is_guest = models.BooleanField(default=False)  # without write access then: it counts for them (hub.repos.quotas)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "sha256", "by"], name="uploaded_once")]


class Quota(models.Model):
    """What the operator allows a person, an organization or a repository, in place of what the settings say."""

    user = models.OneToOneField(User, null=True, on_delete=models.CASCADE, related_name="quota")
    organization = models.OneToOneField(Organization, null=True, on_delete=models.CASCADE, related_name="quota")
    repo = models.OneToOneField(Repo, null=True, on_delete=models.CASCADE, related_name="quota")
    max_bytes = models.PositiveBigIntegerField(null=True)  # None: no limit

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user__isnull=False, organization__isnull=True, repo__isnull=True)
                | models.Q(user__isnull=True, organization__isnull=False, repo__isnull=True)
                | models.Q(user__isnull=True, organization__isnull=True, repo__isnull=False),
                name="quota_of_one",
            )
        ]


class LooseBytes(models.Model):
    """Bytes in the store that no file of a repository counts: see hub.repos.loose, which alone writes it."""

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, null=True, on_delete=models.CASCADE, related_name="+")
    repo = models.ForeignKey(Repo, null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=80)  # "xorb:<hash>", "sha256:<hex>", "parts:<upload>" or "texts:<upload>"
    size = models.PositiveBigIntegerField()  # bytes that are not claimed yet
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="loose_once_user"),
            models.UniqueConstraint(fields=["organization", "name"], name="loose_once_organization"),
            models.CheckConstraint(
                condition=Q(user__isnull=True) ^ Q(organization__isnull=True), name="loose_bytes_of_one"
            ),
        ]


class UnnamedBlob(models.Model):
    """A stored file that the collections since then have found in use nowhere (hub.repos.garbage)."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    since = models.DateTimeField()
