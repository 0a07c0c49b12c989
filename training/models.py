"""What is made from data: corpora, runs, checkpoints, evaluations, samples. Files lie in the data folder, rows name them by digest."""

from django.db import models
from django.utils import timezone

from hub.accounts.models import User
from hub.common.models import Job
from hub.community.models import PullRequest
from hub.repos.models import Repo


class Corpus(models.Model):
    """Tokenized, packed rows; building it twice from the same pins gives the same digest."""

    digest = models.CharField(max_length=80, unique=True)  # sha256:<hex> of its manifest
    manifest = models.JSONField(default=dict)
    rows = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    dropped = models.JSONField(default=dict)  # reason -> rows
    created_at = models.DateTimeField(default=timezone.now)


class Run(models.Model):
    """One execution of a recipe for a candidate: prepare, then train. The job rows carry state and leases."""

    class State(models.TextChoices):
        HELD = "held", "Waiting for a maintainer to press run"
        PREPARING = "preparing", "Preparing data"
        TRAINING = "training", "Training"
        SUCCEEDED = "succeeded", "Succeeded"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.SET_NULL, related_name="runs")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="runs")
    proposed_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="runs")
    approved_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # pressed "run"
    input_commit = models.CharField(max_length=40)  # candidate with pins, before outputs
    recipe_digest = models.CharField(max_length=80)
    lock_digest = models.CharField(max_length=80, blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.HELD)
    reason = models.TextField(blank=True)
    prepare_job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    train_job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    corpus = models.ForeignKey(Corpus, null=True, on_delete=models.SET_NULL, related_name="runs")
    model_digest = models.CharField(max_length=80, blank=True)
    result = models.JSONField(default=dict)  # the engine's result.json
    is_superseded = models.BooleanField(default=False)  # a newer push made it stale
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["repo", "-created_at"], name="run_list")]


class Checkpoint(models.Model):
    """A saved step of a run. The last one of a finished run is its model."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    digest = models.CharField(max_length=80)
    files = models.JSONField(default=dict)  # path -> {"sha256","size"}: kept in the byte store
    is_final = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "step"], name="checkpoint_step_once")]


class Replay(models.Model):
    """A run made again from its lock, and how its weights differ from the recorded ones. Ended, it never changes."""

    class State(models.TextChoices):
        RUNNING = "running", "Being made again"
        EQUAL = "equal", "Equal"
        CLOSE = "close", "Within tolerance"
        DIFFERENT = "different", "Different"
        FAILED = "failed", "Could not be made again"

    COMPARED = ("equal", "close", "different")

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="replays")
    asked_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")  # null: an operator
    asked_at = models.DateTimeField(default=timezone.now)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(max_length=9, choices=State.choices, default=State.RUNNING)
    sentence = models.TextField(blank=True)  # the outcome in words
    report = models.JSONField(default=dict)  # as training.running.replays.carry_out writes it
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["run", "-asked_at"], name="replay_of_run")]
        constraints = [
            models.UniqueConstraint(fields=["run"], condition=models.Q(state="running"), name="replay_one_at_a_time")
        ]

    @property
    def now(self) -> str:
        """The outcome, or what is being done."""
        return self.sentence or (self.job.progress.get("sentence") if self.job else "") or "It waits for a worker."

    @property
    def version_rows(self) -> list[tuple[str, tuple[str, str]]]:
        """(program, (version that was recorded, version now))."""
        both = [self.report.get(side, {}).get("versions", {}) for side in ("recorded", "remade")]
        names = sorted(both[0].keys() | both[1].keys())
        return [(name, (both[0].get(name, "-"), both[1].get(name, "-"))) for name in names]


class Evaluation(models.Model):
    """Candidate against parent on one suite; or, without a proposal, what a commit reaches on it."""

    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.SET_NULL, related_name="evaluations")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="evaluations")
    suite_repo = models.ForeignKey(Repo, null=True, on_delete=models.SET_NULL, related_name="+")
    suite_name = models.CharField(max_length=200)
    suite_commit = models.CharField(max_length=40)
    commit = models.CharField(max_length=40, blank=True)  # of the model, where there is no proposal
    model_digest = models.CharField(max_length=80)
    parent_digest = models.CharField(max_length=80, blank=True)
    parent_name = models.CharField(max_length=300, blank=True)  # NAMESPACE/NAME@commit
    margin = models.FloatField(default=0.01)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    results = models.JSONField(default=dict)  # the engine's evaluation.json
    verdict = models.CharField(max_length=12, blank=True)  # worse | not_worse | insufficient
    digest = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)


class Sampling(models.Model):
    """Answers of a model (and its parent) to a prompt set, for the output screens and for reviewers."""

    pull_request = models.ForeignKey(PullRequest, null=True, on_delete=models.SET_NULL, related_name="samplings")
    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="samplings")
    model_digest = models.CharField(max_length=80)
    parent_digest = models.CharField(max_length=80, blank=True)
    prompts_digest = models.CharField(max_length=80)
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    answers = models.JSONField(default=list)  # [{"id","hazard","prompt","text","parent_text"}]
    settings = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)


class LedgerEntry(models.Model):
    """Compute of a person: reserved before, settled after, refunded when the infrastructure failed."""

    class Kind(models.TextChoices):
        RESERVED = "reserved", "Reserved"
        SETTLED = "settled", "Settled"
        REFUNDED = "refunded", "Refunded"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="ledger")
    job = models.ForeignKey(Job, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    seconds = models.FloatField()  # of worker time; negative when given back
    at = models.DateTimeField(default=timezone.now)
