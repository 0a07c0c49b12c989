"""Named checks of a pull request: each says what it found in one sentence, with evidence to open."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.community.discussions import add_event
from hub.community.events import check_changed, check_failed
from hub.community.models import Check, PullRequest

MAX_SUMMARY_CHARACTERS = 10_000  # it quotes what people wrote, and stands in the timeline each time
ENDED = (Check.State.PASSED, Check.State.FAILED, Check.State.CANCELLED)


@transaction.atomic
def set_check(
    pull_request: PullRequest,
    name: str,
    *,
    state: str,
    summary: str,
    evidence: dict[str, Any] | None = None,
    digest: str | None = None,
    is_required: bool = True,
    position: int | None = None,
) -> Check:
    """Create or change a check. `digest` is the candidate it judged; evidence is merged into what is there."""
    check, _ = Check.objects.select_for_update().get_or_create(
        pull_request=pull_request, name=name, defaults={"position": position or 0, "is_required": is_required}
    )
    summary = summary if len(summary) <= MAX_SUMMARY_CHARACTERS else f"{summary[:MAX_SUMMARY_CHARACTERS]}…"
    before = check.state
    now = timezone.now()
    check.state, check.summary, check.is_required = state, summary, is_required
    if position is not None:
        check.position = position
    if evidence is not None:
        check.evidence = {**check.evidence, **evidence}
    if digest is not None:
        check.digest = digest
    if state == Check.State.RUNNING and before != state:
        check.started_at, check.finished_at = now, None
    if state in ENDED and before != state:
        check.finished_at = now
    if state == Check.State.WAITING:
        check.started_at = check.finished_at = None
    check.save()
    if before != state and state in (*ENDED, Check.State.HELD):
        add_event(pull_request.discussion, "check", None, name=name, state=state, summary=summary)
    if before != state and state == Check.State.FAILED and is_required:
        check_failed.send(Check, check=check)
    transaction.on_commit(lambda: check_changed.send(Check, check=check))
    return check


def reset_checks(pull_request: PullRequest, names: list[str], summary: str) -> None:
    """Make the named checks wait again, in this order, as a new candidate demands; others are removed."""
    with transaction.atomic():
        pull_request.checks.exclude(name__in=names).delete()
        pull_request.checks.filter(name__in=names).update(evidence={}, digest="")
        for position, name in enumerate(names):
            set_check(pull_request, name, state=Check.State.WAITING, summary=summary, position=position)


def blocking_checks(pull_request: PullRequest) -> list[Check]:
    """Required checks that are not passed, in order."""
    return [check for check in pull_request.checks.all() if check.is_required and check.state != Check.State.PASSED]
