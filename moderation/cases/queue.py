"""The moderator's queue: held content, flagged outputs, reports. A person decides, it is logged, and what follows is done."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require, role_of
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.community.listeners import notify, settle_news
from hub.community.models import Discussion
from hub.repos.clearance import Decision
from hub.repos.models import Content, Repo
from moderation import audit
from moderation.cases import voices
from moderation.cases.case_stakes import is_about_own_work, why_has_stake
from moderation.cases.consequences import carry_out
from moderation.models import Case, Screening
from moderation.people import maintainers_of, moderators
from moderation.rules.policies import in_force
from moderation.rules.reasons import AWAITS_RELEASE, IN_PROGRESS
from training.models import Run
from training.running.audience import may_see as may_see_run

State = Case.State
LIVE = Q(repo__deleted_at__isnull=True)  # a deleted repository is missing here, too
SEVERITY_OF_BLOCK = 3
SEVERITY = {Content.Clearance.PENDING: 2, Content.Clearance.WITHHELD: SEVERITY_OF_BLOCK}
MAX_REASON_CHARACTERS = 5_000
MAX_KEY = 2**63 - 1  # an address may hold any number; a database column does not


def path_of(case: Case) -> str:
    return f"/moderation/cases/{case.pk}"


def queue_of(repo: Repo) -> str:
    """Where moderators find what waits in one repository."""
    return f"/moderation?repo={repo.pk}"


def settle_case_news(case: Case) -> None:
    """Nobody has to be told any more that this case waits; that files of the repository do, once none is open."""
    is_last = not Case.objects.filter(repo=case.repo, state=State.OPEN).exists()
    settle_news([path_of(case), *([queue_of(case.repo)] if is_last else [])])


# --- opening


def open_for_contents(screening: Screening, decisions: list[Decision]) -> None:
    """A case for each file that a screen held or blocked, once."""
    opened = [
        case
        for decision in decisions
        if decision.clearance != Content.Clearance.CLEARED and decision.reason not in (AWAITS_RELEASE, IN_PROGRESS)
        if (case := open_for_content(screening, decision)) is not None
    ]
    tell_of_held(opened)


def open_for_content(screening: Screening, decision: Decision) -> Case | None:
    """The new case, or None where one is open: that one then says what the newer screening found."""
    severity = SEVERITY[Content.Clearance(decision.clearance)]
    path, reason = decision.content.path, decision.reason
    title = (reason if path in reason else f"{path}: {reason}")[:300]
    known = Case.objects.filter(content=decision.content, state=State.OPEN)
    if known.update(screening=screening, severity=severity, title=title):
        return None
    case = Case.objects.create(
        kind=Case.Kind.CONTENT,
        severity=severity,
        repo=screening.repo,
        title=title,
        content=decision.content,
        screening=screening,
    )
    action = "content.withheld" if decision.clearance == Content.Clearance.WITHHELD else "content.held"
    audit.record(action, str(screening.repo), path=decision.content.path, digest=decision.content.digest)
    return case


def open_unscreened(contents: list[Content], reason: str) -> None:
    """The screens broke on these files or had no time for them: they stay closed until a person has looked."""
    tell_of_held([open_unread(content, reason) for content in contents])


def open_unread(content: Content, reason: str) -> Case:
    case = Case.objects.create(
        kind=Case.Kind.CONTENT,
        severity=SEVERITY[Content.Clearance.PENDING],
        repo=content.repo,
        title=f"{content.path} could not be screened: {reason}"[:300],
        content=content,
    )
    waiting = Content.objects.filter(pk=content.pk, clearance=Content.Clearance.PENDING)
    waiting.update(reason="It could not be screened; a moderator looks at it.")
    audit.record("content.held", str(content.repo), path=content.path, digest=content.digest)
    return case


def tell_of_held(cases: list[Case]) -> None:
    """Who brought the files, and the moderators, once for all files of a commit."""
    if not cases:
        return
    first = cases[0]
    what = first.title if len(cases) == 1 else f"{first.title} (and {len(cases) - 1} more)"
    owners = {case.content.added_by for case in cases if case.content is not None}
    people = [*owners, first.repo.owner_user]
    name = name_place(first)
    notify(people, f"{name} is not public in full: {what}", path_of(first))
    told = {person.pk for person in people if person is not None}
    place = path_of(first) if len(cases) == 1 else queue_of(first.repo)
    notify([user for user in moderators() if user.pk not in told], f"To decide in {name}: {what}", place)


def name_place(case: Case) -> str:
    """The repository, or the proposal with which a file came."""
    brought = case.content.brought_by.order_by("pk").first() if case.content is not None else None
    ref = brought.revision.ref if brought is not None else ""
    if not ref.startswith("refs/pr/"):
        return str(case.repo)
    number = ref.removeprefix("refs/pr/")
    row = Discussion.objects.filter(repo=case.repo, number=number if number.isdigit() else 0).first()
    return f"{row}: {row.title}" if row is not None else str(case.repo)


def close_cleared(decisions: Iterable[Decision]) -> None:
    """The whole file was read and is clear: nobody has to decide about it any more."""
    cleared = [item.content.pk for item in decisions if item.clearance == Content.Clearance.CLEARED]
    for start in range(0, len(cleared), 500):
        rows = Case.objects.filter(content__in=cleared[start : start + 500], state=State.OPEN, opened_by__isnull=True)
        for case in rows.select_related("repo"):
            resolve_case(case, "The whole file was read, and nothing was found that needs a person.")


def resolve_case(case: Case, reason: str) -> None:
    """Close a case that nobody has to decide about any more."""
    case.state, case.decided_at, case.decision_reason = State.RESOLVED, timezone.now(), reason
    case.save(update_fields=["state", "decided_at", "decision_reason"])
    audit.record("case.resolved", str(case.repo), case=case.pk, reason=reason)
    settle_case_news(case)


# --- seeing


def find_case(number: int, user: Any) -> Case:
    """Moderators see all cases; who opened one, whose work it is about, and maintainers of the repository see theirs."""
    rows = Case.objects.select_related(
        "repo__owner_user", "repo__owner_organization", "content__added_by", "screening__pull_request__discussion",
        "opened_by", "decided_by", "claimed_by",
    )  # fmt: skip
    case = rows.filter(LIVE, pk=number).first() if number <= MAX_KEY else None
    if case is None or not may_see(case, user):
        raise NotFound(f"There is no case {number}, or it is not yours to see.")
    return case


def may_see(case: Case, user: Any) -> bool:
    if not getattr(user, "is_authenticated", False):
        return False
    is_own = case.kind != Case.Kind.REPORT and is_about_own_work(case, user)
    is_maintainer = role_of(user, case.repo) in ("write", "admin") and can(user, "answer", case.repo)
    return can(user, "moderate") or case.opened_by_id == user.pk or is_own or is_maintainer


def cases_for(user: Any) -> QuerySet[Case]:
    """For moderators: all of them, the severest and oldest first."""
    require(user, "moderate")
    rows = Case.objects.select_related(
        "repo__owner_user", "repo__owner_organization", "content", "opened_by", "decided_by", "claimed_by"
    )
    return rows.filter(LIVE).order_by("-severity", "opened_at", "pk")


# --- deciding


def why_not_decide(case: Case, user: Any) -> str:
    """Empty when `user` may decide, else the reason in a sentence."""
    if not can(user, "moderate"):
        return "A moderator decides about this."
    if case.state != State.OPEN and not voices.is_half_allowed(case):
        return f"This case is {case.get_state_display().lower()} already."
    return why_has_stake(case, user) or voices.why_not_speak(case, user)


@transaction.atomic
def decide_case(*, case: Case, by: User, state: str, reason: str, clause: str = "") -> Case:
    """allowed | refused (content, outputs) or resolved | waiting | refused (reports), with a reason that its people read."""
    require(by, "moderate")
    row = Case.objects.select_for_update().get(pk=case.pk)
    if row.state != State.OPEN and not voices.is_half_allowed(row):
        raise Conflict(f"This case is {row.get_state_display().lower()} already.")
    check_state(row, state)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    check_clause(clause)
    problem = why_not_decide(row, by)
    if problem:
        raise Forbidden(problem)
    reason = reason.strip()[:MAX_REASON_CHARACTERS]
    if voices.is_exception(row, state):
        voices.raise_voice(row, by, state, reason)
        if voices.count_missing(row):
            ask_for_second(row, by, reason)
            return row
    if row.state == State.OPEN or state != row.state:
        write_decision(row, by, state, reason, clause)
    else:
        audit.record("case.seconded", str(row.repo), by=by, is_public=is_for_all(row), case=row.pk, reason=reason)
    return row


def is_for_all(case: Case) -> bool:
    """Whether the log tells everybody of it: not where strangers see neither the repository nor the run that it judges."""
    if case.repo.is_private:
        return False
    run = Run.objects.select_related("repo").filter(pk=case.subject.get("run") or 0).first()
    return run is None or may_see_run(AnonymousUser(), run)


def check_clause(clause: str) -> None:
    """Raises InvalidInput if the policy in force has none of this name."""
    policy = in_force().policy
    if clause and policy.find_clause(clause) is None:
        names = ", ".join(one.name for one in policy.clauses)
        raise InvalidInput(f"The policy has no clause {clause!r}; use one of {names}.")


def ask_for_second(row: Case, by: User, reason: str) -> None:
    """One moderator would set a verdict aside: nothing follows from it until another one says the same."""
    audit.record(
        "case.half_allowed", str(row.repo), by=by, is_public=is_for_all(row), case=row.pk, kind=row.kind, reason=reason
    )
    others = [user for user in moderators() if user != by and not voices.why_not_speak(row, user)]
    notify(others, f"A second moderator has to agree: {row.title[:160]}. {by}: {reason}", path_of(row), actor=by)
    people = [user for user in concerned(row) if user not in others]
    notify(people, f"One moderator would allow it, a second has to agree: {row.title[:160]}", path_of(row), actor=by)


def write_decision(row: Case, by: User, state: str, reason: str, clause: str = "") -> None:
    """Write down, log, carry out and tell, in the transaction that holds the row. Checks nothing."""
    standing = in_force()
    row.state, row.decided_by, row.decided_at = state, by, timezone.now()
    row.decision_reason = reason.strip()[:MAX_REASON_CHARACTERS]
    row.subject = {**row.subject, "policy": standing.name(), **({"clause": clause} if clause else {})}
    row.save()
    audit.record(
        f"case.{state}",
        str(row.repo),
        by=by,
        is_public=is_for_all(row) and row.kind != Case.Kind.REPORT,
        case=row.pk,
        kind=row.kind,
        reason=row.decision_reason,
        clause=clause,
        policy=standing.name(),
        **({"alone": True} if count_active_people() == 1 else {}),
    )
    carry_out(row)
    settle_case_news(row)
    tell_of_decision(row)


def check_state(case: Case, state: str) -> None:
    """Raises InvalidInput for a decision that a case of this kind does not have."""
    allowed = states_for(case)
    if state not in allowed:
        raise InvalidInput(f"A case of this kind is decided as {' or '.join(allowed)}, not {state[:40]!r}.")


def states_for(case: Case) -> tuple[str, ...]:
    if case.kind == Case.Kind.REPORT:
        return (State.RESOLVED.value, *([State.WAITING.value] if is_about_model(case) else []), State.REFUSED.value)
    return (State.ALLOWED.value, State.REFUSED.value)


def is_about_model(case: Case) -> bool:
    """Whether a later release can mend what was reported: only models have releases."""
    return case.kind == Case.Kind.REPORT and case.repo.type == Repo.Type.MODEL


def concerned(case: Case) -> list[User | None]:
    """Who opened it, whose work it is, and who maintains the repository."""
    pull_request = case.screening.pull_request if case.screening else None
    return [
        case.opened_by,
        case.content.added_by if case.content else None,
        pull_request.discussion.author if pull_request else None,
        *maintainers_of(case.repo),
    ]


def name_outcome(case: Case) -> str:
    """What was decided, in half a sentence for the people concerned."""
    title = case.title[:160]
    if case.kind == Case.Kind.OFFLINE:
        return f"{case.repo} is online again" if case.state == State.ALLOWED else f"{case.repo} is offline"
    if case.kind == Case.Kind.REPORT:
        words = {
            State.RESOLVED.value: "was right, and what it says is mended",
            State.WAITING.value: "was right, and waits for a fix",
        }
        return f"the report “{title}” {words.get(case.state, 'was looked at, and nothing follows from it')}"
    return f"{title} is {case.get_state_display().lower()}"


def tell_of_decision(case: Case) -> None:
    text = f"A moderator decided: {name_outcome(case)}. {case.decision_reason}"
    notify(concerned(case), text, path_of(case), actor=case.decided_by)
