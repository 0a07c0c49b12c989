"""Commits by who made them, what each brought and whether it may be shown; releases."""

from django.db import models
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.models.repos import Repo


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
    """What every door needs to know of a release; moderation.releasing.releases alone writes it."""

    class State(models.TextChoices):
        PUBLISHED = "published", "Published"
        YANKED = "yanked", "Yanked"  # resolvable by exact name, not offered
        QUARANTINED = "quarantined", "Quarantined"  # not readable by strangers

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="public_releases")
    tag = models.CharField(max_length=60)
    commit = models.CharField(max_length=40)
    state = models.CharField(max_length=12, choices=State.choices, default=State.PUBLISHED)
    reason = models.TextField(blank=True)
    withdrawn = models.TextField(blank=True)  # what it contains that was withdrawn afterwards, in a sentence
    is_reviewed = models.BooleanField(default=True)  # False: one-person hub, shown as "unreviewed"
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "tag"], name="release_tag_once")]

    @property
    def warning(self) -> str:
        """What who uses it should know; "" when it is fine."""
        said = (
            [self.get_state_display() + (f": {self.reason}" if self.reason else ".")]
            if self.state != "published"
            else []
        )
        if self.withdrawn:
            said.append(f"It contains what was withdrawn afterwards: {self.withdrawn}")
        return " ".join(said)
