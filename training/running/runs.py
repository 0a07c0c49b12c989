"""Runs: what is running, and what a person can do about it."""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common import jobs
from hub.common.errors import Conflict, InvalidInput
from hub.common.models import Job
from hub.community.checks import set_check
from hub.community.models import Check, PullRequest
from training.events import run_changed, run_steered
from training.models import LedgerEntry, Run
from training.running.budgets import (
    CHARGED,
    TRAIN_BUDGET_S,
    has_enough_under_way,
    refuse_more,
    refuse_more_preparing,
    starts_by_itself,
    train_budget_s,
    trainings_at_once,
)

State = Run.State
LIVING = (State.HELD, State.PREPARING, State.TRAINING, State.SUCCEEDED)
PREPARE_BUDGET_S = 900
MOST_STARTED = 200  # held runs that are looked at in one round
WORK = ("training.prepare", "training.train")  # kinds of the jobs that move a run on
REPLACED = "Newer inputs replaced it: a push, or a merge into its target."
JUDGES = ("evaluate", "screen")  # checks behind the weights


@transaction.atomic
def create_run(*, pull_request: PullRequest, input_commit: str, recipe_digest: str, lock_digest: str) -> Run:
    """A new run; its preparation starts at once (bounded, on the CPU), its training when somebody may spend.

    Raises Conflict where too much of its proposer's is being prepared."""
    author = pull_request.discussion.author
    run = Run.objects.create(
        pull_request=pull_request,
        repo=pull_request.discussion.repo,
        proposed_by=author,
        approved_by=author if starts_by_itself(pull_request) else None,
        input_commit=input_commit,
        recipe_digest=recipe_digest,
        lock_digest=lock_digest,
        state=State.PREPARING,
    )
    start_preparing(run)
    return run


def start_preparing(run: Run) -> None:
    """Raises Conflict where too much of its proposer's is being prepared."""
    if run.proposed_by is not None:
        refuse_more_preparing(run.proposed_by)
    job = jobs.enqueue(
        "training.prepare",
        subject=f"run:{run.pk}",
        charged_to=run.proposed_by,
        budget_s=PREPARE_BUDGET_S,
        run_id=run.pk,
    )
    Run.objects.filter(pk=run.pk).update(prepare_job=job, state=State.PREPARING, reason="")
    run.refresh_from_db()
    show(run, "prepare", Check.State.RUNNING, "Waiting for a worker to read and pack the data.", queued=True)


def show(run: Run, name: str, state: str, summary: str, **evidence: Any) -> None:
    """Set a check of the run's pull request, unless a newer push replaced the run."""
    run.refresh_from_db(fields=["is_superseded"])
    if run.pull_request is not None and not run.is_superseded:
        set_check(run.pull_request, name, state=state, summary=summary, evidence={"run": run.pk, **evidence})
    run_changed.send(Run, run=run)


@transaction.atomic
def prepared(run: Run) -> None:
    """After preparation: train, or wait for a person with the budget."""
    row = Run.objects.select_for_update().get(pk=run.pk)
    if row.is_superseded or row.state != State.PREPARING:
        return  # an attempt before this one came so far before its worker died: one training is enough
    if row.approved_by is not None and has_enough_under_way(row.approved_by):
        sentence = (
            f"{trainings_at_once()} of {row.approved_by} already under way; "
            "this one starts by itself when one has ended."
        )
        set_state(row, State.HELD, sentence)
        show(row, "train", Check.State.WAITING, sentence)
        return
    if row.approved_by is not None and (budget_s := train_budget_s(row)):
        start_training(row, budget_s)
        return
    row.approved_by = None
    row.save(update_fields=["approved_by"])
    more = ", or for your free training time to be there again" if settings.FREE_TRAIN_BUDGET_S else ""
    set_state(row, State.HELD, "A maintainer looks at the proposal and presses 'run'.")
    show(row, "train", Check.State.WAITING, f"Waiting for a maintainer to press 'run'{more}.")


def start_training(run: Run, budget_s: int = TRAIN_BUDGET_S) -> None:
    job = jobs.enqueue(
        "training.train",
        subject=f"run:{run.pk}",
        charged_to=run.approved_by,
        budget_s=budget_s,
        run_id=run.pk,
    )
    Run.objects.filter(pk=run.pk).update(train_job=job)
    run.refresh_from_db()
    set_state(run, State.TRAINING, "")
    show(run, "train", Check.State.RUNNING, "Waiting for a worker to train.", queued=True)


def trained(run: Run, result: dict[str, Any]) -> None:
    """The weights are kept; what puts them on the candidate comes next."""
    Run.objects.filter(pk=run.pk).update(
        result=result,
        model_digest=result["model_digest"],
        state=State.SUCCEEDED,
        reason="",
        finished_at=timezone.now(),
    )


def set_state(run: Run, state: str, reason: str) -> None:
    run.state, run.reason = state, reason
    if state in (State.PREPARING, State.TRAINING) and run.started_at is None:
        run.started_at = timezone.now()
    if state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
        run.finished_at = timezone.now()
    run.save(update_fields=["state", "reason", "started_at", "finished_at"])


@transaction.atomic
def start_run(*, run: Run, by: User) -> Run:
    """The "run" button: a maintainer spends the repository's budget on somebody's proposal."""
    require(by, "run", run.repo)
    row = Run.objects.select_for_update().get(pk=run.pk)
    if row.is_superseded:
        raise Conflict("Newer inputs replaced this run; start the newest one.")
    if row.state == State.HELD:
        refuse_more(by)
    if row.state == State.HELD or row.approved_by is None or not can(row.approved_by, "run", row.repo):
        row.approved_by = by
        row.save(update_fields=["approved_by"])
    if row.state == State.HELD:
        start_training(row)
        run_steered.send(Run, run=row, act="started", by=by)
    return row


@transaction.atomic
def rerun(*, run: Run, by: User) -> Run:
    """Start again after a failure or a cancellation; training goes on from its last checkpoint."""
    lock_jobs(run)
    row = Run.objects.select_for_update().get(pk=run.pk)
    may_spend = can(by, "run", row.repo)
    # Preparing is bounded and on the house, so its proposer may ask for it again; training is spent by maintainers.
    if row.proposed_by_id != by.pk or row.corpus_id is not None:
        require(by, "run", row.repo)
    require(by, "propose", row.repo)
    if row.is_superseded:
        raise Conflict("Newer inputs replaced this run; start the newest one.")
    if row.state not in (State.FAILED, State.CANCELLED):
        raise InvalidInput(f"This run is {row.get_state_display().lower()}; only an ended one starts again.")
    if any(job.kind in WORK for job in living_jobs(row)):
        raise Conflict("What was cancelled is still ending; try again in half a minute.")
    if row.corpus_id is not None:
        refuse_more(by)
    row.finished_at = None
    row.approved_by = by if may_spend else row.approved_by  # who presses the button spends, whoever did before
    row.save(update_fields=["finished_at", "approved_by"])
    if row.corpus_id is None:
        start_preparing(row)
    else:
        start_training(row)
    run_steered.send(Run, run=row, act="restarted", by=by)
    return row


@transaction.atomic
def cancel_run(*, run: Run, by: User) -> Run:
    """Its proposer and maintainers may stop it. Checkpoints are kept."""
    require(by, "propose", run.repo)
    if run.proposed_by_id != by.pk:
        require(by, "run", run.repo)
    lock_jobs(run)
    row = Run.objects.select_for_update().get(pk=run.pk)
    if row.state != State.HELD and not living_jobs(row):
        raise InvalidInput(f"This run is {row.get_state_display().lower()}; there is nothing to stop.")
    stop(row, f"Cancelled by {by}.")
    run_steered.send(Run, run=row, act="cancelled", by=by)
    return row


def stop(run: Run, reason: str) -> None:
    """End its jobs, the evaluation and the sampling included. A running one ends within seconds."""
    for job in living_jobs(run):
        jobs.cancel(job=job, by=None, reason=reason)
    if run.state == State.HELD:
        set_state(run, State.CANCELLED, reason)
        show(run, "train", Check.State.CANCELLED, reason)


def jobs_of(run: Run) -> QuerySet[Job]:
    """All jobs that work or worked for a run, oldest first."""
    return Job.objects.filter(subject=f"run:{run.pk}").order_by("created_at")


def lock_jobs(run: Run) -> None:
    """Hold the living jobs of a run before the run itself: a job that ends takes the two in this order, too."""
    list(jobs_of(run).exclude(state__in=Job.ENDED).select_for_update().values_list("pk"))


def living_jobs(run: Run) -> list[Job]:
    return list(jobs_of(run).exclude(state__in=Job.ENDED))


@transaction.atomic
def supersede(pull_request: PullRequest) -> None:
    """Other inputs, by a push or a merge into the target: what runs for the old ones stops, and its results no longer count."""
    for run in Run.objects.filter(pull_request=pull_request, is_superseded=False):
        lock_jobs(run)
        Run.objects.filter(pk=run.pk).update(is_superseded=True)
        stop(run, REPLACED)  # its evaluation, too: nobody will read that


def job_ended(job: Job) -> None:
    """on_end of the run's jobs: a run never stays "running" when its job is over. Runs inside the ending transaction."""
    run = Run.objects.filter(pk=job.payload.get("run_id", 0)).first()
    if run is None:
        return
    settle(job)
    if job.state == Job.State.SUCCEEDED:
        return
    state = Check.State.CANCELLED if job.state == Job.State.CANCELLED else Check.State.FAILED
    if job.kind == "training.prepare":
        if job.pk == run.prepare_job_id and run.state == State.PREPARING:  # else the data had been prepared
            break_off(run, "prepare", state, job.reason)
    elif job.pk == run.train_job_id:
        if is_on_candidate(run):  # cut off behind the weights: what judges them can be started again by hand
            for check in run.pull_request.checks.filter(name__in=JUDGES, state=Check.State.WAITING):  # type: ignore[union-attr]
                show(run, check.name, state, job.reason)
        else:
            break_off(run, "train", state, job.reason)


def start_held() -> None:
    """Runs whose proposers have free training time again, or fewer trainings under way: the oldest first."""
    if not settings.FREE_TRAIN_BUDGET_S and not settings.TRAININGS_AT_ONCE:
        return
    held = Run.objects.filter(state=State.HELD, is_superseded=False, pull_request__isnull=False)
    if not settings.FREE_TRAIN_BUDGET_S:
        held = held.filter(approved_by__isnull=False)  # the others wait for a person
    for pk in held.order_by("pk").values_list("pk", flat=True)[:MOST_STARTED]:
        start_if_free(pk)


@transaction.atomic
def start_if_free(pk: int) -> None:
    row = Run.objects.select_for_update(of=("self",)).filter(pk=pk, state=State.HELD, is_superseded=False).first()
    if row is None or row.pull_request is None:
        return
    if row.approved_by is None and not can(row.proposed_by, "propose", row.repo):
        return
    payer = row.approved_by or row.proposed_by
    if payer is None or has_enough_under_way(payer):
        return
    if row.approved_by is None and not starts_by_itself(row.pull_request):
        return
    row.approved_by = payer
    row.save(update_fields=["approved_by"])
    if budget_s := train_budget_s(row):
        start_training(row, budget_s)


def forgotten_runs() -> QuerySet[Run]:
    """Runs that look as if they were at work, but whose job is over or gone."""
    return Run.objects.filter(
        Q(state=State.PREPARING) & (Q(prepare_job__isnull=True) | Q(prepare_job__state__in=Job.ENDED))
        | Q(state=State.TRAINING) & (Q(train_job__isnull=True) | Q(train_job__state__in=Job.ENDED))
    )


@transaction.atomic
def end_forgotten(run: Run) -> None:
    row = forgotten_runs().select_for_update(of=("self",)).filter(pk=run.pk).first()
    if row is not None:
        check = "prepare" if row.state == State.PREPARING else "train"
        break_off(row, check, Check.State.FAILED, "Its job ended without a word; run it again.")


def break_off(run: Run, check: str, state: str, reason: str) -> None:
    set_state(run, State.CANCELLED if state == Check.State.CANCELLED else State.FAILED, reason)
    show(run, check, state, reason)
    if run.pull_request is not None and not run.is_superseded:
        behind = run.pull_request.checks.filter(name__in=("train", *JUDGES), state=Check.State.WAITING)
        for later in behind.exclude(name=check):
            show(run, later.name, later.state, f"It cannot start before '{check}' passes.")


def is_on_candidate(run: Run) -> bool:
    """Whether what the run made has reached its proposal, which is the last act of training."""
    if run.state != State.SUCCEEDED or run.pull_request is None or run.is_superseded:
        return False
    return run.pull_request.checks.filter(name="train", state=Check.State.PASSED, evidence__run=run.pk).exists()


def settle(job: Job) -> None:
    """Charge the worker time of the attempt that ended the job to who spends it. Attempts that the hub's own
    infrastructure broke cost nobody, nor does waiting; that such a job was had for nothing is written down, too."""
    if job.charged_to is None or job.attempt == 0 or job.kind not in CHARGED:
        return
    kind = LedgerEntry.Kind.SETTLED if job.worked_s else LedgerEntry.Kind.REFUNDED
    LedgerEntry.objects.create(user=job.charged_to, job=job, kind=kind, seconds=job.worked_s)
    if settings.FREE_TRAIN_BUDGET_S or settings.TRAININGS_AT_ONCE:
        jobs.enqueue(
            "training.start_held", subject="housekeeping"
        )  # what it did not use, and its place, is there again
