"""Screening of data: quick screens within the commit, the whole content by a job; findings become clearance."""

import io
import time
from datetime import timedelta
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from hub.common import jobs
from hub.repos.clearance import Decision, decide
from hub.repos.models import Content, Repo, Revision
from hub.repos.places import pair, store
from hub.storage.git import parse_pointer
from moderation import queue
from moderation.models import Case, Finding, Screening
from moderation.screens import screen_file
from moderation.screens.findings import Finding as Found
from moderation.screens.findings import worst

QUICK_BUDGET_S = 2.0  # of one commit: a public upload is readable at once
FULL_BUDGET_S = 600.0  # of one file
MAX_FINDINGS = 200  # stored for one file; the first ones say enough
AWAITS_RELEASE = "It waits for its release."
IN_PROGRESS = "It is being screened; that takes a moment for large files."


def open_content(content: Content) -> BinaryIO:
    if content.is_large:
        return store().open(content.digest.removeprefix("sha256:"))
    return io.BytesIO(pair(content.repo).members.read_blob(content.digest.removeprefix("git:")))


def is_made_here(revision: Revision, content: Content) -> bool:
    """Weights that the hub itself trained: they wait for the release gate, not for a screen of data."""
    return content.is_large and revision.ref.startswith("refs/convert/")


def screen_quickly(revision: Revision, contents: list[Content]) -> None:
    """Within the commit and its two seconds. What is not reached stays pending for the job."""
    if not contents:
        return
    deadline = time.monotonic() + QUICK_BUDGET_S
    repo = revision.repo
    screening = Screening.objects.create(
        subject=Screening.Subject.DATA, repo=repo, commit=revision.commit, is_quick=True
    )
    decisions: list[Decision] = []
    for content in contents:
        if is_made_here(revision, content):
            decisions.append(Decision(content, Content.Clearance.PENDING, AWAITS_RELEASE))
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            decisions.append(Decision(content, Content.Clearance.PENDING, IN_PROGRESS))
            continue
        decisions.append(screen_content(screening, content, quick=True, budget_s=left))
    finish(screening, decisions)
    decide(repo, decisions, publish_now=False)
    queue.open_for_contents(screening, decisions)
    jobs.enqueue("moderation.screen_data", subject=f"repo:{repo.pk}", revision_id=revision.pk)


def screen_content(screening: Screening, content: Content, *, quick: bool, budget_s: float) -> Decision:
    """One file: its findings are stored, and what follows from them is returned."""
    with open_content(content) as reader:
        if not content.is_large and content.size < 1024 and parse_pointer(reader.read()) is not None:
            return Decision(content, Content.Clearance.CLEARED)
        reader.seek(0)
        found = screen_file(content.path, reader, content.size, quick=quick, budget_s=budget_s)
    store_findings(screening, content, found)
    return conclude(content, found)


def store_findings(screening: Screening, content: Content, found: list[Found]) -> None:
    rows = [
        Finding(
            screening=screening,
            content=content,
            screen=item.screen,
            rule=item.rule[:60],
            severity=item.severity,
            where=item.where[:300],
            excerpt=item.excerpt[:200],
            message=item.message,
        )
        for item in found[:MAX_FINDINGS]
    ]
    Finding.objects.bulk_create(rows)


def conclude(content: Content, found: list[Found]) -> Decision:
    verdict = worst(found)
    if verdict == "clear":
        return Decision(content, Content.Clearance.CLEARED)
    if verdict == "block":
        reason = next(item.message for item in found if item.severity == "block")
        return Decision(content, Content.Clearance.WITHHELD, reason)
    reason = next(item.message for item in found if item.severity == "hold")
    return Decision(content, Content.Clearance.PENDING, reason)


def finish(screening: Screening, decisions: list[Decision]) -> None:
    states = {decision.clearance for decision in decisions}
    if Content.Clearance.WITHHELD in states:
        state = Screening.State.BLOCKED
    elif any(
        decision.clearance == Content.Clearance.PENDING and decision.reason != AWAITS_RELEASE for decision in decisions
    ):
        state = Screening.State.HELD
    else:
        state = Screening.State.PASSED
    bad = [decision for decision in decisions if decision.clearance != Content.Clearance.CLEARED]
    screening.state = state
    screening.summary = f"{len(decisions):,} files screened" + (f", {len(bad):,} not cleared." if bad else ".")
    screening.finished_at = timezone.now()
    screening.save()


def decided_by_person(content: Content) -> bool:
    """A moderator's word stands above a screen's."""
    return Case.objects.filter(content=content, decided_by__isnull=False).exists()


def screen_fully(lease: jobs.Lease, revision: Revision) -> Screening:
    """Body of moderation.screen_data: the whole of every file that the commit brought."""
    repo = Repo.objects.get(pk=revision.repo_id)
    contents = [row.content for row in revision.brought.select_related("content__repo")]
    screening = Screening.objects.create(
        subject=Screening.Subject.DATA, repo=repo, commit=revision.commit, job=lease.job
    )
    decisions: list[Decision] = []
    for number, content in enumerate(contents):
        lease.check()
        lease.report("progress", sentence=f"Screening {content.path}", done=number, total=len(contents))
        if is_made_here(revision, content) or decided_by_person(content):
            continue
        decisions.append(screen_content(screening, content, quick=False, budget_s=FULL_BUDGET_S))
    with transaction.atomic():
        finish(screening, decisions)
        queue.open_for_contents(screening, decisions)
    decide(repo, [item for item in decisions if differs(item)])
    return screening


def differs(decision: Decision) -> bool:
    row = Content.objects.get(pk=decision.content.pk)
    return (row.clearance, row.reason) != (decision.clearance, decision.reason)


def screen_forgotten(*, older_than_s: float = 120) -> int:
    """Content whose screens never came (a crash between commit and job): screen it now. Returns how many commits."""
    limit = timezone.now() - timedelta(seconds=older_than_s)
    waiting = Content.objects.filter(
        clearance=Content.Clearance.PENDING, created_at__lt=limit, cases__isnull=True, findings__isnull=True
    ).exclude(reason=AWAITS_RELEASE)
    revisions = {link.revision_id for content in waiting[:500] for link in content.brought_by.all()[:1]}
    for pk in revisions:
        jobs.enqueue("moderation.screen_data", subject="forgotten", revision_id=pk)
    return len(revisions)
