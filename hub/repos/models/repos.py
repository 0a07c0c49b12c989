"""Repositories, their older names and who may work on them; which of them a person sees in lists."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from hub.accounts.models import AccessToken, Membership, Organization, User

MAX_SCOPES = 200  # of one token; each is a part of the query


GATES = ("auto", "manual")  # who asks is let in at once, or when a writer says so


def new_key() -> str:
    return uuid.uuid4().hex


def reach_of(token: AccessToken | None) -> Q:
    """Which repositories a token is for, as hub.accounts.permissions.token_allows says it of one."""
    if token is None or token.role != AccessToken.Role.FINE_GRAINED:
        return Q()
    reach = Q(is_private=False, is_disabled=False)
    for scope in list(token.scopes or {})[:MAX_SCOPES]:
        kind, _, name = scope.partition("/")
        owner, _, repo = name.partition("/")
        owned = Q(owner_user__username=owner) | Q(owner_organization__name=owner)
        reach |= owned if kind == "namespace" else owned & Q(type=kind.removesuffix("s"), name=repo)
    return reach


class RepoQuerySet(models.QuerySet["Repo"]):
    def visible_to(self, user: object) -> "RepoQuerySet":
        """What `can(user, "read", ...)` allows: public repositories, and the private and disabled ones that `user` is a
        member of (moderators read all). A fine-grained token is shown no private one that it does not name."""
        public = Q(is_private=False, is_disabled=False)
        if not getattr(user, "is_authenticated", False):
            return self.filter(public)
        reached = self.filter(reach_of(getattr(user, "token", None)))
        if getattr(user, "is_moderator", False):
            return reached
        # No joins: with them each row would come once for each member, and a list of all would be sorted to make it distinct.
        key = user.pk  # type: ignore[attr-defined]
        organizations = Membership.objects.filter(user_id=key).values("organization")
        shared = RepoCollaborator.objects.filter(user_id=key).values("repo")
        member = Q(owner_user_id=key) | Q(owner_organization__in=organizations) | Q(pk__in=shared)
        return reached.filter(public | member)

    def for_listing(self) -> "RepoQuerySet":
        return self.select_related("owner_user", "owner_organization")


_RepoManager = models.Manager.from_queryset(RepoQuerySet)


class LiveRepos(_RepoManager):
    """All but the deleted ones, so that every door that looks here finds those missing."""

    def get_queryset(self) -> RepoQuerySet:  # type: ignore[override]
        return super().get_queryset().filter(deleted_at__isnull=True)


class Repo(models.Model):
    class Type(models.TextChoices):
        MODEL = "model", "Model"
        DATASET = "dataset", "Dataset"
        SPACE = "space", "Space"

    class Shows(models.TextChoices):
        """What the public sees of the main branch."""

        CLEARED = "cleared", "Every cleared commit"
        RELEASES = "releases", "Releases only"

    key = models.CharField(max_length=32, unique=True, default=new_key, editable=False)  # folder name; never reused
    type = models.CharField(max_length=8, choices=Type.choices)
    owner_user = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="repos")
    owner_organization = models.ForeignKey(Organization, null=True, on_delete=models.PROTECT, related_name="repos")
    name = models.CharField(max_length=96)
    is_private = models.BooleanField(default=False)
    gated = models.CharField(max_length=8, blank=True)  # "" | auto | manual
    is_disabled = models.BooleanField(default=False)  # by moderation; bytes are kept, nobody but moderators reads
    disabled_reason = models.TextField(blank=True)
    shows = models.CharField(max_length=10, choices=Shows.choices, default=Shows.CLEARED)
    has_release_policy = models.BooleanField(default=False)  # v* tags are reserved for the gate
    is_policy = models.BooleanField(
        default=False
    )  # the rules of this hub: moderators and operators merge, nobody pushes
    default_branch = models.CharField(max_length=100, default="main")
    next_number = models.PositiveIntegerField(default=1)  # discussions and pull requests share one sequence
    description = models.CharField(max_length=300, blank=True)
    card = models.JSONField(default=dict)  # metadata of README.md at the public head (members' head when private)
    card_problem = models.TextField(blank=True)
    tags = models.JSONField(default=list)
    head = models.CharField(max_length=40, blank=True)  # members' head of the default branch
    public_head = models.CharField(max_length=40, blank=True)
    public_floor = models.CharField(max_length=40, blank=True)  # "releases only": what was public when that began
    downloads = models.PositiveBigIntegerField(default=0)
    likes = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True)  # looks missing to everybody since then (hub.repos.deleted)
    deleted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    objects = LiveRepos()
    everything = _RepoManager()  # the deleted ones, too: for what was under way, quotas and bringing back

    class Meta:
        constraints = [  # the name of a deleted one is free at once
            models.UniqueConstraint(
                "type",
                "owner_user",
                Lower("name"),
                condition=Q(deleted_at__isnull=True),
                name="repo_name_unique_user",
            ),
            models.UniqueConstraint(
                "type",
                "owner_organization",
                Lower("name"),
                condition=Q(deleted_at__isnull=True),
                name="repo_name_unique_org",
            ),
            models.UniqueConstraint("is_policy", condition=Q(is_policy=True), name="one_policy_repository"),
            models.CheckConstraint(
                condition=Q(owner_user__isnull=True) ^ Q(owner_organization__isnull=True), name="repo_has_one_owner"
            ),
        ]
        indexes = [  # lists of models and datasets in each of their orders
            models.Index(fields=["type", "-updated_at", "-id"], name="repo_listing"),
            models.Index(fields=["type", "-created_at", "-id"], name="repo_listing_by_age"),
            models.Index(fields=["type", "-likes", "-id"], name="repo_listing_by_likes"),
            models.Index(fields=["type", "-downloads", "-id"], name="repo_listing_by_downloads"),
        ]

    def __str__(self) -> str:
        return self.full_name

    @property
    def owner(self) -> User | Organization:
        return self.owner_user or self.owner_organization  # type: ignore[return-value]

    @property
    def full_name(self) -> str:
        return f"{self.owner.name}/{self.name}"

    @property
    def path(self) -> str:
        """Address of its page: models live at the root, as people know it."""
        prefix = {"model": "", "dataset": "/datasets", "space": "/spaces"}[self.type]
        return f"{prefix}/{self.full_name}"


class RepoAlias(models.Model):
    """A former name keeps leading to the repository."""

    type = models.CharField(max_length=8)
    full_name = models.CharField(max_length=200)
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="aliases")

    class Meta:
        constraints = [models.UniqueConstraint("type", Lower("full_name"), name="alias_unique")]


class RepoCollaborator(models.Model):
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="collaborators")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="collaborations")
    role = models.CharField(max_length=8, choices=[("read", "Read"), ("write", "Write"), ("admin", "Admin")])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "user"], name="collaborator_once")]
