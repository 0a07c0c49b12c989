"""The moderator's queue: held content, flagged outputs, reports. A person decides; what follows is done here, and logged."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.community.checks import set_check
from hub.community.models import Check
from hub.repos.clearance import Decision, decide
from hub.repos.models import Content, Repo
from moderation import audit
from moderation.models import Case, Screening

State = Case.State
SEVERITY = {Content.Clearance.PENDING: 2, Content.Clearance.WITHHELD: 3}
MAX_REPORT_CHARACTERS = 20_000
REPORT_KEYS = ("prompt", "answer", "settings", "release", "revision", "model_digest")


def open_for_contents(screening: Screening, decisions: list[Decision]) -> None:
    """A case for each file that a screen held or blocked, once."""
    for decision in decisions:
        has_finding = screening.findings.filter(content=decision.content).exclude(severity="info").exists()
        if decision.clearance == Content.Clearance.CLEARED or not has_finding:
            continue
        open_cases = Case.objects.filter(content=decision.content, state=State.OPEN)
        if open_cases.exists():
            open_cases.update(screening=screening, severity=SEVERITY[Content.Clearance(decision.clearance)])
            continue
        Case.objects.create(
            kind=Case.Kind.CONTENT,
            severity=SEVERITY[Content.Clearance(decision.clearance)],
            repo=screening.repo,
            title=f"{decision.content.path}: {decision.reason}"[:300],
            content=decision.content,
            screening=screening,
        )
        action = "content.withheld" if decision.clearance == Content.Clearance.WITHHELD else "content.held"
        audit.record(action, str(screening.repo), path=decision.content.path, digest=decision.content.digest)


@transaction.atomic
def open_report(*, repo: Repo, by: User, text: str, subject: dict[str, Any] | None = None) -> Case:
    """Anybody signed in who may read can report; an answer's report carries prompt, settings and release."""
    require(by, "report", repo)
    if not text.strip():
        raise InvalidInput("Say in a sentence what is wrong with it.")
    kept = {key: value for key, value in (subject or {}).items() if key in REPORT_KEYS}
    if len(text) > MAX_REPORT_CHARACTERS or len(str(kept)) > 5 * MAX_REPORT_CHARACTERS:
        raise InvalidInput(f"A report has at most {MAX_REPORT_CHARACTERS:,} characters; shorten it.")
    case = Case.objects.create(
        kind=Case.Kind.REPORT,
        severity=2,
        repo=repo,
        title=" ".join(text.split())[:300],
        subject={**kept, "text": text},
        opened_by=by,
    )
    audit.record("report.opened", str(repo), by=by, case=case.pk)
    return case


def find_case(number: int, user: Any) -> Case:
    """Moderators see all cases; who opened one and maintainers of the repository see theirs."""
    case = (
        Case.objects.select_related("repo", "content", "screening", "opened_by", "decided_by").filter(pk=number).first()
    )
    if case is None or not may_see(case, user):
        raise NotFound(f"There is no case {number}, or it is not yours to see.")
    return case


def may_see(case: Case, user: Any) -> bool:
    if not getattr(user, "is_authenticated", False):
        return False
    return can(user, "moderate") or case.opened_by_id == user.pk or can(user, "write", case.repo)


def has_interest(case: Case, user: User) -> bool:
    """Nobody judges their own contribution."""
    if case.content is not None and case.content.added_by_id == user.pk:
        return True
    pull_request = case.screening.pull_request if case.screening else None
    return pull_request is not None and pull_request.discussion.author_id == user.pk


@transaction.atomic
def decide_case(*, case: Case, by: User, state: str, reason: str) -> Case:
    """allowed | refused (content, outputs) or resolved (reports), with a reason that its people read."""
    require(by, "moderate")
    row = Case.objects.select_for_update().get(pk=case.pk)
    if row.state != State.OPEN:
        raise Conflict(f"This case is {row.get_state_display().lower()} already.")
    allowed = (State.RESOLVED, State.REFUSED) if row.kind == Case.Kind.REPORT else (State.ALLOWED, State.REFUSED)
    if state not in allowed:
        raise InvalidInput(f"A case of this kind is decided as {' or '.join(allowed)}, not {state!r}.")
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    if has_interest(row, by):
        raise Forbidden("This is your own contribution; another moderator has to decide it.")
    row.state, row.decided_by, row.decided_at, row.decision_reason = state, by, timezone.now(), reason.strip()
    row.save()
    audit.record(f"case.{state}", str(row.repo), by=by, is_public=not row.repo.is_private, case=row.pk, reason=reason)
    transaction.on_commit(lambda: carry_out(row))
    return row


def carry_out(case: Case) -> None:
    """What follows from a decision."""
    if case.content is not None:
        is_allowed = case.state == State.ALLOWED
        clearance = Content.Clearance.CLEARED if is_allowed else Content.Clearance.WITHHELD
        decide(case.repo, [Decision(case.content, clearance, "" if is_allowed else case.decision_reason)])
    elif case.kind == Case.Kind.OUTPUT and case.screening is not None and case.screening.pull_request is not None:
        settle_output(case)


def settle_output(case: Case) -> None:
    screening = case.screening
    assert screening is not None and screening.pull_request is not None
    is_allowed = case.state == State.ALLOWED
    screening.state = Screening.State.PASSED if is_allowed else Screening.State.BLOCKED
    screening.save(update_fields=["state"])
    check = screening.pull_request.checks.filter(name="screen").first()
    if check is None or check.evidence.get("screening") != screening.pk:
        return  # a newer candidate has its own screening
    word = "Allowed" if is_allowed else "Refused"
    set_check(
        screening.pull_request,
        "screen",
        state=Check.State.PASSED if is_allowed else Check.State.FAILED,
        summary=f"{word} by moderator {case.decided_by}: {case.decision_reason}",
    )
