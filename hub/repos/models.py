"""Repositories and the facts kept about them. Git holds what people made; these rows index it and remember decisions."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from hub.accounts.models import AccessToken, Membership, Organization, User

__all__ = [
    "BlobXorb",
    "Content",
    "LastCommit",
    "LooseBytes",
    "PendingWrite",
    "Quota",
    "Repo",
    "RepoAlias",
    "RepoCollaborator",
    "RepoRelease",
    "Revision",
    "RevisionContent",
    "StoredBlob",
    "UnnamedBlob",
    "UploadedBlob",
]


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


class Revision(models.Model):
    """A commit that came through a door: who is credited, and whether its content is cleared."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="revisions")
    commit = models.CharField(max_length=40)
    parents = models.JSONField(default=list)
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="revisions")  # authenticated
    door = models.CharField(max_length=12)  # api | git | web | hub
    title = models.CharField(max_length=300, blank=True)
    ref = models.CharField(max_length=200)  # the first ref it arrived on
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "commit"], name="revision_once")]


class PendingWrite(models.Model):
    """Written before a ref moves and removed when the commit is registered, so that a crash between leaves a note."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="pending_writes")
    ref = models.CharField(max_length=200)
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    door = models.CharField(max_length=12)
    at = models.DateTimeField(default=timezone.now)


class Content(models.Model):
    """The one fact of clearance: (repository, digest). `digest` is "git:<sha1>" for text, "sha256:<hex>" for large files.

    Bytes that come back under a name of another kind are a fact of their own, "<digest>#<kind>" (hub.repos.naming)."""

    class Clearance(models.TextChoices):
        PENDING = "pending", "Waiting for screening"
        CLEARED = "cleared", "Cleared"
        WITHHELD = "withheld", "Withheld"

    NOT_CLEARED = (Clearance.PENDING, Clearance.WITHHELD)

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="contents")
    digest = models.CharField(max_length=80)
    size = models.PositiveBigIntegerField(default=0)
    path = models.TextField()  # where it was first seen; screens and people need a name
    clearance = models.CharField(max_length=8, choices=Clearance.choices, default=Clearance.PENDING)
    reason = models.TextField(blank=True)  # one sentence for the owner
    added_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "digest"], name="content_once")]
        indexes = [
            models.Index(fields=["clearance", "created_at"], name="content_waiting"),  # moderation queue
            models.Index(fields=["digest"], name="content_digest"),  # deduplication answers
            models.Index(fields=["repo", "clearance"], name="content_of_repo"),  # listings: most have nothing to hide
        ]

    @property
    def is_large(self) -> bool:
        return self.digest.startswith("sha256:")

    @property
    def is_cleared(self) -> bool:
        return self.clearance == self.Clearance.CLEARED

    @property
    def oid(self) -> str:
        """git's id of the text, or the SHA-256 of the large file."""
        return self.digest.partition(":")[2].partition("#")[0]


class RevisionContent(models.Model):
    """What a commit brought that the repository did not hold before."""

    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="brought")
    content = models.ForeignKey(Content, on_delete=models.CASCADE, related_name="brought_by")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["revision", "content"], name="brought_once")]


class LastCommit(models.Model):
    """The last commit of each path on the members' default branch, kept when commits arrive (computing it later takes minutes)."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="last_commits")
    path = models.TextField()
    commit = models.CharField(max_length=40)
    title = models.CharField(max_length=300)
    date = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "path"], name="last_commit_once")]


class RepoRelease(models.Model):
    """What every door needs to know of a release; moderation.releases alone writes it."""

    class State(models.TextChoices):
        PUBLISHED = "published", "Published"
        YANKED = "yanked", "Yanked"  # resolvable by exact name, not offered
        QUARANTINED = "quarantined", "Quarantined"  # not readable by strangers

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="public_releases")
    tag = models.CharField(max_length=60)
    commit = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=State.choices, default=State.PUBLISHED)
    reason = models.TextField(blank=True)
    is_reviewed = models.BooleanField(default=True)  # False: one-person hub, shown as "unreviewed"
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "tag"], name="release_tag_once")]
