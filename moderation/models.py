"""Judgements: screenings and findings, cases for people, releases, and the audit log that remembers every decision."""

from django.db import models
from django.utils import timezone

from hub.accounts.models import User
from hub.common.models import Job
from hub.community.models import Discussion, PullRequest
from hub.repos.models import Content, Repo


class Screening(models.Model):
    """One pass of the screens over data (contents of a commit) or outputs (answers of a candidate)."""

    class Subject(models.TextChoices):
        DATA = "data", "Data"
        OUTPUT = "output", "Model outputs"

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        HELD = "held", "Waiting for a moderator"
        BLOCKED = "blocked", "Blocked"
        FAILED = "failed", "Could not be screened"

    subject = models.CharField(max_length=8, choices=Subject.choices)
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="screenings")
    commit = models.CharField(max_length=40, blank=True)
    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.SET_NULL, related_name="screenings")
    digest = models.CharField(max_length=80, blank=True)  # candidate or model digest it judged
    is_quick = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    summary = models.TextField(blank=True)
    report = models.JSONField(default=dict)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["repo", "commit"], name="screening_of_commit")]  # moderation.screening.renewing


class Finding(models.Model):
    class Severity(models.TextChoices):
        INFO = "info", "Note"
        HOLD = "hold", "Needs a person"
        BLOCK = "block", "Not allowed"

    screening = models.ForeignKey(Screening, on_delete=models.CASCADE, related_name="findings")
    content = models.ForeignKey(Content, null=True, on_delete=models.CASCADE, related_name="findings")
    screen = models.CharField(max_length=20)
    rule = models.CharField(max_length=60)
    severity = models.CharField(max_length=5, choices=Severity.choices)
    where = models.CharField(max_length=300, blank=True)
    excerpt = models.CharField(max_length=200, blank=True)  # redacted
    message = models.TextField()
    overruled_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    overruled_reason = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)


class Case(models.Model):
    """Something a moderator has to decide: held content, a flagged candidate, a report."""

    class Kind(models.TextChoices):
        CONTENT = "content", "Held content"
        OUTPUT = "output", "Flagged outputs"
        REPORT = "report", "Report"
        EXEMPT = "exempt", "Exception asked for"  # from a verdict of the gate
        OFFLINE = "offline", "Taken offline"  # a repository or a release, at once; see Quarantine

    class State(models.TextChoices):
        OPEN = "open", "Open"
        ALLOWED = "allowed", "Allowed"
        REFUSED = "refused", "Refused"
        RESOLVED = "resolved", "Resolved"
        WAITING = "waiting", "Waiting for a fix"  # an accepted report, until a published release passes its test

    kind = models.CharField(max_length=8, choices=Kind.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    severity = models.PositiveSmallIntegerField(default=1)  # 1 note, 2 hold, 3 block: the queue shows the highest first
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="cases")
    title = models.CharField(max_length=300)
    content = models.ForeignKey(Content, null=True, on_delete=models.CASCADE, related_name="cases")
    screening = models.ForeignKey(Screening, null=True, on_delete=models.SET_NULL, related_name="cases")
    discussion = models.ForeignKey(Discussion, null=True, on_delete=models.SET_NULL, related_name="cases")
    subject = models.JSONField(
        default=dict
    )  # report: {"prompt","answer","settings","release","model_digest","may_publish"}
    opened_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # null: a screen
    opened_at = models.DateTimeField(default=timezone.now)
    claimed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    claimed_until = models.DateTimeField(null=True)
    escalated_at = models.DateTimeField(
        null=True
    )  # last told of as late; moderation.cases.deadlines counts from here again
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(null=True)
    decision_reason = models.TextField(blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "-severity", "opened_at"], name="case_queue")]


class CaseVoice(models.Model):
    """What one moderator says in a case. Against a verdict of the screens or the gate two have to say the same."""

    class State(models.TextChoices):
        ALLOWED = "allowed", "Allow it"
        REFUSED = "refused", "Refuse it"
        RECUSED = "recused", "Steps back"

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="voices")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=State.choices)
    reason = models.TextField()
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["case", "by"], name="case_voice_once")]


class Release(models.Model):
    """A record that the gate alone makes. Published, it never changes but for its state."""

    class State(models.TextChoices):
        PROPOSED = "proposed", "Waiting for approvals"
        PUBLISHED = "published", "Published"
        YANKED = "yanked", "Yanked"
        QUARANTINED = "quarantined", "Quarantined"
        REFUSED = "refused", "Refused"

    repo = models.ForeignKey(Repo, on_delete=models.PROTECT, related_name="releases")
    version = models.CharField(max_length=40)  # semantic version; the tag is "v" + version
    commit = models.CharField(max_length=40)
    digest = models.CharField(max_length=80)  # sha256 of the manifest: approvals bind to it
    manifest = models.JSONField(default=dict)
    signature = models.JSONField(
        default=dict
    )  # {"algorithm":"ed25519","public_key","signature"} over the canonical manifest
    model_signature = models.JSONField(default=dict)  # of its files, as moderation.releasing.model_signing writes it
    provenance = models.JSONField(default=dict)  # how it was made, signed, as moderation.releasing.provenance writes it
    gate = models.JSONField(default=list)  # [{"name","state","sentence","evidence"}]: what the gate looked at
    notes = models.TextField(blank=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.PROPOSED)
    state_reason = models.TextField(blank=True)
    is_held_by_moderator = models.BooleanField(default=False)  # yanked or quarantined by one: only moderators lift it
    is_reviewed = models.BooleanField(default=True)
    proposed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    published_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repo", "version"], name="release_version_once")]

    @property
    def tag(self) -> str:
        return f"v{self.version}"


class ReleaseChange(models.Model):
    """A published release took a state: what the history of the channels is told from. Only ever added to."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="changes")
    state = models.CharField(max_length=12, choices=Release.State.choices)
    at = models.DateTimeField(default=timezone.now)
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # null: the gate
    reason = models.TextField(blank=True)


class ReleaseApproval(models.Model):
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="approvals")
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    digest = models.CharField(max_length=80)
    text = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "by"], name="release_approval_once")]


class ReleaseStake(models.Model):
    """Somebody who made part of a release, known when it was proposed; the database takes no approval of theirs."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="stakes")
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=200)  # to them, in a sentence

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "user"], name="release_stake_once")]


class ReleaseBasis(models.Model):
    """A content that has to be cleared when the release is published: its own, and that of the data it was made of.

    By repository and digest, as clearance knows it. The content itself may be purged later, and the release is not."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="basis")
    repo = models.ForeignKey(Repo, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    digest = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "repo", "digest"], name="release_basis_once")]


class ReportTest(models.Model):
    """What an accepted report asks of later releases: a row of a suite. Nothing in it says who reported it."""

    case = models.OneToOneField(Case, on_delete=models.CASCADE, related_name="test")
    suite = models.ForeignKey(Repo, null=True, on_delete=models.SET_NULL, related_name="+")
    row = models.CharField(max_length=40, unique=True)  # drawn by chance; the number of the case would lead to it
    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.SET_NULL, related_name="+")
    made_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    passed_by = models.ForeignKey(Release, null=True, on_delete=models.SET_NULL, related_name="+")  # closed the case
    failed_by = models.ForeignKey(
        Release, null=True, on_delete=models.SET_NULL, related_name="+"
    )  # newest that did not


class PolicyVersion(models.Model):
    """What was in force from a moment on: the text itself, so that each verdict can be computed again whatever becomes of
    the repository. Never changed; the last one is in force."""

    number = models.PositiveIntegerField(primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    repository = models.CharField(max_length=200, blank=True)  # its name at the time; "" = the file that the hub brings
    key = models.CharField(max_length=32, blank=True)  # of the repository
    commit = models.CharField(max_length=40, blank=True)
    digest = models.CharField(max_length=80, db_index=True)  # sha256 of the text; verdicts name it
    text = models.TextField()
    pull_request = models.PositiveIntegerField(null=True)  # number of the proposal that brought it
    people = models.JSONField(default=dict)  # {"author", "approved": [...], "merged"}: names at the time


class Quarantine(models.Model):
    """A repository, or one release of it, taken offline by one moderator at once. It ends by itself unless a second one
    agrees in time."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="quarantines")
    release = models.ForeignKey(Release, null=True, on_delete=models.CASCADE, related_name="quarantines")
    case = models.OneToOneField(
        Case, on_delete=models.CASCADE, related_name="quarantine"
    )  # its reasons, to be appealed
    by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    lapses_at = models.DateTimeField()
    seconded_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    seconded_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(
        User, null=True, on_delete=models.PROTECT, related_name="+"
    )  # null and ended: it lapsed
    end_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["repo"], condition=models.Q(ended_at=None, release=None), name="quarantine_of_repo_once"
            ),
            models.UniqueConstraint(
                fields=["release"], condition=models.Q(ended_at=None), name="quarantine_of_release_once"
            ),
            models.CheckConstraint(
                condition=models.Q(seconded_by=None) | ~models.Q(seconded_by=models.F("by")),
                name="quarantine_seconded_by_another",
            ),
        ]
        indexes = [
            models.Index(fields=["lapses_at"], condition=models.Q(ended_at=None), name="quarantine_to_lapse")
        ]  # read by the job that ends them


class AuditEntry(models.Model):
    """Append-only: each entry carries the hash of the one before, so a change or a gap shows."""

    number = models.PositiveBigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=96, blank=True)  # name at the time; "" = the hub
    action = models.CharField(max_length=60)  # content.withheld, case.allowed, release.published ...
    subject = models.CharField(max_length=300)
    data = models.JSONField(default=dict)
    is_public = models.BooleanField(default=False)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)  # sha256 over the canonical JSON of all above
