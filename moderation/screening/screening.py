"""Screening of data: quick screens within the commit, the whole content by a job; findings become clearance."""

import logging
import time
from datetime import timedelta
from functools import cache

from django.db import transaction
from django.utils import timezone

from hub.common import jobs
from hub.common.models import Job
from hub.repos.clearance import Decision, decide
from hub.repos.models import Content, Repo, Revision
from moderation.cases import queue
from moderation.models import Case, Screening
from moderation.rules.policies import in_force
from moderation.rules.reasons import AWAITS_RELEASE, IN_PROGRESS, QUARANTINED
from moderation.screening.content_screening import screen_content
from moderation.screens import SCREENS_VERSION
from moderation.screens.registry import describe_screens
from training.models import Checkpoint

log = logging.getLogger(__name__)

QUICK_BUDGET_S = 2.0  # of one commit: a public upload is readable at once
PROBE = 50  # files after which it shows whether the budget suffices for all of a commit
FILE_BUDGET_S, MAX_FILE_BUDGET_S = 600.0, 3600.0  # of one file in full; more for what is larger
JOB_BUDGET_S = 3600  # of a commit, and what its bytes take
SLOWEST_BYTES_PER_S = 200_000  # text takes longest: 480,000 a second were measured on a busy core
WRITE_EVERY_S = 10.0  # each writing may publish, which costs more than a small file
AGAIN = "again"  # subject of jobs that look at old data once more (moderation.screening.renewing)
MOST_FAILURES = 3  # of looking once more at a commit; then a person looks at it
SCREEN_KIND = "moderation.screen_data"


def is_made_here(revision: Revision, content: Content) -> bool:
    """Weights that a run of this hub made: they wait for the release gate, not for a screen of data."""
    return (
        content.is_large
        and revision.ref.startswith("refs/convert/")
        and content.digest.partition("#")[0] in made_digests(revision.repo)
    )


def made_digests(repo: Repo) -> set[str]:
    """Digests of every file that the repository's runs made."""
    kept = Checkpoint.objects.filter(run__repo=repo, is_final=True).values_list("files", flat=True)
    return {f"sha256:{pin['sha256']}" for files in kept for pin in files.values()}


def screen_quickly(revision: Revision, contents: list[Content]) -> None:
    """Within the commit and its two seconds. What is not reached stays pending for the job."""
    if not contents:
        return
    deadline = time.monotonic() + QUICK_BUDGET_S
    repo = revision.repo
    for content in contents:
        content.repo = repo  # known already: not a query for each file
    screening = Screening.objects.create(
        subject=Screening.Subject.DATA, repo=repo, commit=revision.commit, is_quick=True, report=describe_makers()
    )
    decisions = []
    for number, content in enumerate(contents):
        if number == PROBE and not is_within_reach(len(contents), deadline):
            deadline = 0.0
        decisions.append(decide_quickly(screening, revision, content, deadline))
    with transaction.atomic():
        finish(screening, decisions)
        queue.open_for_contents(screening, decisions)
        decide(repo, decisions, publish_now=False)
    if any(decision.reason != AWAITS_RELEASE for decision in decisions):
        enqueue_full(revision, subject=f"repo:{repo.pk}")


def is_within_reach(files: int, deadline: float) -> bool:
    """Whether the two seconds suffice, by what the first files took. A commit that has to wait for the job in any case
    should not make who sent it wait as well."""
    spent = QUICK_BUDGET_S - (deadline - time.monotonic())
    return spent / PROBE * files <= QUICK_BUDGET_S


def enqueue_full(revision: Revision, *, subject: str) -> None:
    jobs.enqueue(SCREEN_KIND, subject=subject, budget_s=job_budget_s(revision), revision_id=revision.pk)


def decide_quickly(screening: Screening, revision: Revision, content: Content, deadline: float) -> Decision:
    if is_made_here(revision, content):
        return Decision(content, Content.Clearance.PENDING, AWAITS_RELEASE)
    left = deadline - time.monotonic()
    if left <= 0:
        return Decision(content, Content.Clearance.PENDING, IN_PROGRESS)
    try:
        return screen_content(screening, content, quick=True, budget_s=left)
    except Exception:  # a screen that breaks must leave the file closed and the commit whole; the job tries again
        log.exception("The quick screen of %s in %s failed", content.path, revision.repo)
        return Decision(content, Content.Clearance.PENDING, IN_PROGRESS)


def finish(screening: Screening, decisions: list[Decision]) -> None:
    kinds = {(decision.clearance, decision.reason == AWAITS_RELEASE) for decision in decisions}
    if (Content.Clearance.WITHHELD, False) in kinds:
        state = Screening.State.BLOCKED
    elif (Content.Clearance.PENDING, False) in kinds:
        state = Screening.State.HELD
    else:
        state = Screening.State.PASSED
    bad = sum(decision.clearance != Content.Clearance.CLEARED for decision in decisions)
    files = f"{len(decisions):,} file{'s' if len(decisions) != 1 else ''} screened"
    screening.state = state
    screening.summary = f"{files}, {bad:,} not cleared." if bad else f"{files}."
    screening.finished_at = timezone.now()
    screening.save()


def decided_by_person(content: Content) -> bool:
    """A moderator's word stands above a screen's."""
    return Case.objects.filter(content=content, decided_by__isnull=False).exists()


def is_for_screens(revision: Revision, content: Content) -> bool:
    """Not for them: what the release gate or a moderator decides about."""
    return not (
        content.reason in (AWAITS_RELEASE, QUARANTINED) or is_made_here(revision, content) or decided_by_person(content)
    )


def screen_fully(lease: jobs.Lease, revision: Revision) -> Screening:
    """Body of moderation.screen_data: the whole of every file that the commit brought, from where an earlier attempt
    stopped. What was judged is written every few seconds, so that it counts however the job ends."""
    screening = begin(lease, revision)
    rows = list(revision.brought.select_related("content__repo").order_by("pk"))
    left = [row for row in rows if row.pk > screening.report.get("after", 0)]
    judged: list[Decision] = []
    last, written_at = 0, time.monotonic()
    try:
        for done, row in enumerate(left, len(rows) - len(left)):
            lease.check()
            lease.report("progress", sentence=f"Screening {row.content.path}", done=done, total=len(rows))
            if is_for_screens(revision, row.content):
                budget_s = file_budget_s(row.content.size)
                judged.append(screen_content(screening, row.content, quick=False, budget_s=budget_s))
            last = row.pk
            if time.monotonic() - written_at >= WRITE_EVERY_S:
                write_down(screening, judged, after=last)
                judged, written_at = [], time.monotonic()
    except jobs.JobLost:
        raise  # another attempt owns it now
    except BaseException:
        write_down(screening, judged, after=last)
        raise
    write_down(screening, judged, after=last)
    finish(screening, standing_decisions(revision))
    return screening


def begin(lease: jobs.Lease, revision: Revision) -> Screening:
    """The screening of this commit that an earlier attempt left unfinished, or a new one."""
    rows = Screening.objects.filter(subject=Screening.Subject.DATA, repo=revision.repo, commit=revision.commit)
    unfinished = rows.filter(is_quick=False, finished_at=None, job=lease.job).last()
    return unfinished or Screening.objects.create(
        subject=Screening.Subject.DATA,
        repo=revision.repo,
        commit=revision.commit,
        job=lease.job,
        report=describe_makers(),
    )


def describe_makers() -> dict[str, object]:
    return {**made_by(), "policy": in_force().name()}


@cache
def made_by() -> dict[str, object]:
    """What every record says of the screens that made it. Packages do not change under a running process."""
    return {"screens": describe_screens(), "screens_version": SCREENS_VERSION}


def write_down(screening: Screening, judged: list[Decision], *, after: int) -> None:
    """Clearance and cases, and then how far the screening came: a crash in between has the same files read again."""
    # Screening a large file takes minutes, in which a person may have decided.
    judged = [decision for decision in judged if not decided_by_person(decision.content)]
    decide(screening.repo, [decision for decision in judged if differs(decision)])
    with transaction.atomic():
        queue.open_for_contents(screening, judged)
        queue.close_cleared(judged)
        if after:
            screening.report = {**screening.report, "after": after}
            screening.save(update_fields=["report"])


def standing_decisions(revision: Revision) -> list[Decision]:
    """What holds now for the files that the screens judge, whichever attempt judged them."""
    contents = [row.content for row in revision.brought.select_related("content__repo")]
    return [
        Decision(content, content.clearance, content.reason)
        for content in contents
        if is_for_screens(revision, content)
    ]


def file_budget_s(size: int) -> float:
    return min(MAX_FILE_BUDGET_S, max(FILE_BUDGET_S, size / SLOWEST_BYTES_PER_S))


def job_budget_s(revision: Revision) -> int:
    """What the full screening of a commit may take: it grows with what there is to read."""
    sizes = revision.brought.values_list("content__size", flat=True)
    return JOB_BUDGET_S + len(sizes) + sum(sizes) // SLOWEST_BYTES_PER_S


def differs(decision: Decision) -> bool:
    row = Content.objects.get(pk=decision.content.pk)
    return (row.clearance, row.reason) != (decision.clearance, decision.reason)


def give_up(job: Job) -> None:
    """A screening job that failed for good, used up its budget or was cancelled: a person looks at what it did not
    reach, so that nothing waits unseen and nothing is screened for ever. Runs as the job ends."""
    if job.state == Job.State.SUCCEEDED:
        return
    revision = Revision.objects.select_related("repo").filter(pk=job.payload.get("revision_id", 0)).first()
    if revision is None:
        return
    note_failure(job, revision)
    if job.subject == AGAIN and count_failures(revision) >= MOST_FAILURES:
        cleared = revision.brought.filter(content__clearance=Content.Clearance.CLEARED).select_related("content__repo")
        rows = [row.content for row in cleared if is_for_screens(revision, row.content)]
        queue.open_unscreened([row for row in rows if not row.cases.filter(state=Case.State.OPEN).exists()], job.reason)
    waiting = revision.brought.filter(content__clearance=Content.Clearance.PENDING, content__cases__isnull=True)
    waiting = waiting.exclude(content__reason__in=(AWAITS_RELEASE, QUARANTINED)).select_related("content__repo")
    queue.open_unscreened([row.content for row in waiting], job.reason)


def note_failure(job: Job, revision: Revision) -> None:
    """The record of the attempt, also where it ended before it began to read."""
    ended = {
        "state": Screening.State.FAILED,
        "summary": f"It was not finished: {job.reason}",
        "finished_at": timezone.now(),
    }
    rows = Screening.objects.filter(job=job)
    if not rows.filter(finished_at=None).update(**ended) and not rows.exists():
        Screening.objects.create(
            subject=Screening.Subject.DATA, repo=revision.repo, commit=revision.commit, job=job, report=describe_makers(),
            **ended,
        )  # fmt: skip


def count_failures(revision: Revision) -> int:
    """Full screenings of this commit by the screens of today that were given up."""
    rows = Screening.objects.filter(subject=Screening.Subject.DATA, repo=revision.repo, commit=revision.commit)
    return rows.filter(is_quick=False, state=Screening.State.FAILED, report__screens_version=SCREENS_VERSION).count()


def screen_forgotten(*, older_than_s: float = 120) -> int:
    """Content whose screens never came (a crash between commit and job): screen it now. Returns how many commits."""
    limit = timezone.now() - timedelta(seconds=older_than_s)
    waiting = Content.objects.filter(clearance=Content.Clearance.PENDING, created_at__lt=limit, cases__isnull=True)
    waiting = waiting.exclude(reason__in=(AWAITS_RELEASE, QUARANTINED))
    revisions = {link.revision_id for content in waiting[:500] for link in content.brought_by.order_by("pk")[:1]}
    living = Job.objects.filter(kind=SCREEN_KIND).exclude(state__in=Job.ENDED)
    revisions -= {job.payload.get("revision_id") for job in living}
    for revision in Revision.objects.filter(pk__in=revisions):
        enqueue_full(revision, subject="forgotten")
    return len(revisions)
