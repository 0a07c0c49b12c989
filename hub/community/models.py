"""Discussions and pull requests: one sequence of numbers per repository; a pull request is a discussion with commits."""

from django.db import models
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.models import Repo

__all__ = ["Check", "Discussion", "Event", "Like", "Notification", "PullRequest", "Review"]


class Discussion(models.Model):
    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"
        MERGED = "merged", "Merged"

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="discussions")
    number = models.PositiveIntegerField()
    title = models.CharField(max_length=300)
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="discussions")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.OPEN)
    is_pull_request = models.BooleanField(default=False)
    is_private = models.BooleanField(default=False)  # moderation cases: reporter, owners and moderators only
    imported_author = models.CharField(
        max_length=100, blank=True
    )  # who wrote it on another hub: a word, no account here
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "number"], name="discussion_number")]
        indexes = [models.Index(fields=["repo", "status", "-created_at"], name="discussion_list")]

    def __str__(self) -> str:
        return f"{self.repo}#{self.number}"

    @property
    def path(self) -> str:
        return f"{self.repo.path}/discussions/{self.number}"

    @property
    def told_author(self) -> User | str | None:
        return self.author or (f"{self.imported_author} (imported)" if self.imported_author else None)


class Event(models.Model):
    """One entry of a timeline. `data` by kind: comment {"text","hidden"}; status-change {"status","reason"}; commit {"oid","subject"};
    title-change {"from","to"}; review {"verdict","digest"}; check {"name","state","summary"}; merge {"oid"}."""

    discussion = models.ForeignKey(Discussion, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=20)
    author = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    data = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]

    @property
    def told_author(self) -> User | str | None:
        """Its author, or the word that an import brought for one of another hub ("imported_author" in `data`)."""
        return self.author or (
            f"{self.data['imported_author'] or 'another hub'} (imported)" if self.is_imported else None
        )

    @property
    def is_imported(self) -> bool:
        """Nothing of it happened here, whoever it names: no check of this hub, and no word of its own account."""
        return "imported_author" in self.data


class PullRequest(models.Model):
    """`refs/pr/N` (head) belongs to its author; the hub judges and merges the *candidate* = target + head + what its run made."""

    discussion = models.OneToOneField(
        Discussion, primary_key=True, on_delete=models.CASCADE, related_name="pull_request"
    )
    target = models.CharField(max_length=100, default="main")
    base = models.CharField(max_length=40)  # head of the target when it was opened
    head = models.CharField(max_length=40)  # refs/pr/N
    candidate = models.CharField(max_length=40, blank=True)  # refs/convert/candidate_N
    candidate_digest = models.CharField(max_length=80, blank=True)  # what checks and approvals bind to
    candidate_target = models.CharField(max_length=40, blank=True)  # head of the target that the candidate contains
    is_trained = models.BooleanField(default=False)  # it changes how weights are made: training checks are required
    conflict_paths = models.JSONField(default=list)
    merge_commit = models.CharField(max_length=40, blank=True)
    merged_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    merged_at = models.DateTimeField(null=True)
    merged_unreviewed = models.BooleanField(default=False)  # nobody else could approve: a hub with one person

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.discussion.number}"

    @property
    def candidate_ref(self) -> str:
        return f"refs/convert/candidate_{self.discussion.number}"

    def __str__(self) -> str:
        return str(self.discussion)


class Review(models.Model):
    class Verdict(models.TextChoices):
        APPROVE = "approve", "Approved"
        REQUEST_CHANGES = "request_changes", "Changes requested"
        COMMENT = "comment", "Commented"

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="reviews")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="reviews")
    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    digest = models.CharField(max_length=80)  # candidate digest that was judged; another one makes it stale
    text = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)


class Check(models.Model):
    """A named judgement of a pull request's candidate."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"  # its turn comes, or it waits for a person: the summary says which
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"
        HELD = "held", "Waiting for a moderator"
        CANCELLED = "cancelled", "Cancelled"

    pull_request = models.ForeignKey(PullRequest, on_delete=models.CASCADE, related_name="checks")
    name = models.CharField(max_length=40)  # files | prepare | train | evaluate | screen
    position = models.PositiveSmallIntegerField(default=0)
    is_required = models.BooleanField(default=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    summary = models.TextField(blank=True)  # one sentence for people
    evidence = models.JSONField(default=dict)  # {"run": id} {"evaluation": id} {"screening": id}
    digest = models.CharField(max_length=80, blank=True)  # of the candidate it judged
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position", "name"]
        constraints = [models.UniqueConstraint(fields=["pull_request", "name"], name="check_once")]


class Like(models.Model):
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="liked_by")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="likes")
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "user"], name="like_once")]


class Notification(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="notifications")
    text = models.CharField(max_length=300)
    path = models.CharField(max_length=300)
    is_read = models.BooleanField(default=False)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["user", "is_read", "-at"], name="notification_bell"),
            # for hub.community.listeners.settle_news
            models.Index(fields=["path"], condition=models.Q(is_read=False), name="notification_unread_place"),
        ]
