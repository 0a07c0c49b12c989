"""Another look at a refusal: asked for by the people whom it concerns, decided by somebody else, once."""

from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Forbidden, InvalidInput
from hub.community.listeners import notify
from moderation import audit
from moderation.cases.queue import MAX_REASON_CHARACTERS, concerned, may_see, path_of
from moderation.models import Case
from moderation.people import moderators


def may_appeal(case: Case, user: Any) -> bool:
    """Whether this decision concerns the person, and nobody asked for another look yet."""
    if case.state != Case.State.REFUSED or case.decided_by_id is None or not getattr(user, "is_authenticated", False):
        return False
    if "appeal_of" in case.subject or Case.objects.filter(repo=case.repo, subject__appeal_of=case.pk).exists():
        return False
    return user.pk in {person.pk for person in concerned(case) if person is not None}


def without_notes(case: Case) -> dict[str, Any]:
    return {key: value for key, value in case.subject.items() if key not in ("notes", "clause")}


@transaction.atomic
def appeal(*, case: Case, by: User, text: str) -> Case:
    """Ask for another look: a new case, which somebody else than before decides. The first decision stays in the log."""
    require(by, "answer", case.repo)
    if not may_see(case, by) or not may_appeal(case, by):
        raise Forbidden("Only the people whom a refusal concerns can ask for another look, and once.")
    if not text.strip():
        raise InvalidInput("Say in a sentence why another moderator should look at it.")
    again = Case.objects.create(
        kind=case.kind,
        severity=case.severity,
        repo=case.repo,
        title=f"Appeal: {case.title}"[:300],
        content=case.content,
        screening=case.screening,
        subject={**without_notes(case), "appeal_of": case.pk, "text": text.strip()[:MAX_REASON_CHARACTERS]},
        opened_by=by,
    )
    audit.record("case.appealed", str(case.repo), by=by, case=again.pk, appeal_of=case.pk)
    notify(list(moderators()), f"Appeal in {case.repo}: {case.title}", path_of(again), actor=by)
    return again
