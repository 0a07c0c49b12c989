"""What people gather and whom they follow: collections of repositories, with what was said and thought of them."""

import secrets

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.text import slugify

from hub.accounts.models import Organization, User
from hub.community.models import Discussion
from hub.repos.models import Repo

__all__ = ["Attachment", "Collection", "CollectionItem", "CollectionUpvote", "Dispute", "EvalResult", "Follow"]


def new_object_id() -> str:
    """24 hexadecimal digits, as the stock client knows identifiers of collections and their items."""
    return secrets.token_hex(12)


def new_secret_id() -> str:
    """128 bits: who was not given the address of an attachment does not find it."""
    return secrets.token_hex(16)


class Attachment(models.Model):
    """A picture, film or sound of a discussion. Its bytes lie in the byte store; whoever has the address reads them."""

    key = models.CharField(max_length=32, unique=True, default=new_secret_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="attachments")
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    suffix = models.CharField(max_length=4)  # hub.community.attachments.FORMATS: what the bytes are
    at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True)  # the row stays and counts until the bytes are given back

    class Meta:
        indexes = [models.Index(fields=["user", "at"], name="attachment_quota")]  # check_quota

    @property
    def path(self) -> str:
        return f"/uploads/{self.key}.{self.suffix}"

    @property
    def label(self) -> str:
        """What to call it where no comment names it."""
        return f"{self.key[:8]}….{self.suffix}"


class Collection(models.Model):
    """A shelf of one owner. `slug` changes with the title; `key` at its end never does, and finds it."""

    key = models.CharField(max_length=24, unique=True, default=new_object_id, editable=False)
    owner_user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="collections")
    owner_organization = models.ForeignKey(
        Organization, null=True, on_delete=models.PROTECT, related_name="collections"
    )
    title = models.CharField(max_length=100)
    description = models.CharField(max_length=150, blank=True)
    theme = models.CharField(max_length=10, default="blue")
    is_private = models.BooleanField(default=False)
    position = models.PositiveIntegerField(default=0)  # among those of its owner; ties and gaps mean nothing
    upvotes = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint("owner_user", Lower("title"), name="collection_title_unique_user"),
            models.UniqueConstraint("owner_organization", Lower("title"), name="collection_title_unique_org"),
            models.CheckConstraint(
                condition=Q(owner_user__isnull=True) ^ Q(owner_organization__isnull=True),
                name="collection_has_one_owner",
            ),
        ]
        indexes = [models.Index(fields=["-updated_at", "-id"], name="collection_listing")]  # lists, newest first

    def __str__(self) -> str:
        return self.title

    @property
    def owner(self) -> User | Organization:
        return self.owner_user or self.owner_organization  # type: ignore[return-value]

    @property
    def slug(self) -> str:
        """OWNER/words-of-the-title-KEY"""
        return f"{self.owner.name}/{slugify(self.title)[:60].strip('-') or 'collection'}-{self.key}"

    @property
    def path(self) -> str:
        return f"/collections/{self.slug}"


class CollectionItem(models.Model):
    """A repository or another collection on the shelf. `position` orders them; ties and gaps mean nothing."""

    key = models.CharField(max_length=24, unique=True, default=new_object_id, editable=False)
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="items")
    repo = models.ForeignKey(Repo, null=True, on_delete=models.CASCADE, related_name="collected_in")
    inner = models.ForeignKey(Collection, null=True, on_delete=models.CASCADE, related_name="collected_in")
    position = models.PositiveIntegerField(default=0)
    note = models.CharField(max_length=500, blank=True)
    added_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    added_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["collection", "repo"], name="collected_repo_once"),
            models.UniqueConstraint(fields=["collection", "inner"], name="collected_collection_once"),
            models.CheckConstraint(condition=Q(repo__isnull=True) ^ Q(inner__isnull=True), name="collected_one_thing"),
        ]
        ordering = ["position", "id"]

    @property
    def thing(self) -> Repo | Collection:
        return self.repo or self.inner  # type: ignore[return-value]

    @property
    def type(self) -> str:
        """model | dataset | space | collection"""
        return self.repo.type if self.repo is not None else "collection"


class CollectionUpvote(models.Model):
    collection = models.ForeignKey(Collection, on_delete=models.CASCADE, related_name="upvoted_by")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="upvotes")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["collection", "user"], name="upvote_once")]


class Follow(models.Model):
    """Somebody wants to know of a person or an organization."""

    follower = models.ForeignKey(User, on_delete=models.CASCADE, related_name="follows")
    person = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="followed_by")
    organization = models.ForeignKey(Organization, null=True, on_delete=models.CASCADE, related_name="followed_by")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["follower", "person"], name="follow_person_once"),
            models.UniqueConstraint(fields=["follower", "organization"], name="follow_organization_once"),
            models.CheckConstraint(
                condition=Q(person__isnull=True) ^ Q(organization__isnull=True), name="follow_one_owner"
            ),
            models.CheckConstraint(condition=~Q(follower=models.F("person")), name="follow_somebody_else"),
        ]

    @property
    def followed(self) -> User | Organization:
        return self.person or self.organization  # type: ignore[return-value]


class Dispute(models.Model):
    """An entry of a leaderboard that somebody contests. It is settled when its discussion is closed."""

    dataset = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="disputes")
    model = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="+")
    task = models.CharField(max_length=100)
    value = models.FloatField()  # as it was then
    discussion = models.OneToOneField(Discussion, on_delete=models.CASCADE, related_name="dispute")


class EvalResult(models.Model):
    """One entry of a model's `.eval_results/*.yaml` at the head that it shows. `commit` says which: what another head
    left behind counts no more (hub.community.eval_results)."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="eval_results")
    commit = models.CharField(max_length=40)
    filename = models.CharField(max_length=300)
    dataset = models.CharField(max_length=200)  # its name as it was written, in small letters
    task = models.CharField(max_length=100)
    value = models.FloatField()
    source = models.JSONField(default=dict)  # {"url", "name"} or {}
    notes = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [models.Index(fields=["dataset", "task", "-value"], name="eval_result_board")]  # rows_of
