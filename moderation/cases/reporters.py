"""Who reported something is read by moderators and by themselves, and by nobody else: not by whom they reported."""

from typing import Any

from hub.accounts.models import User
from hub.accounts.permissions import can
from moderation.models import Case

UNNAMED = "Somebody"


def reporter_of(case: Case) -> User | None:
    """Who reported what this case, or the one that it is an appeal of, is about; None for cases that no report opened."""
    if case.kind != Case.Kind.REPORT:
        return None
    if not case.subject.get("appeal_of"):
        return case.opened_by
    first = Case.objects.select_related("opened_by").filter(pk=case.subject["appeal_of"]).first()
    return first.opened_by if first is not None else None


def is_unnamed(case: Case, person: Any, viewer: Any) -> bool:
    """Whether `viewer` may not read that `person` has to do with this case."""
    reporter = reporter_of(case)
    if reporter is None or person is None or can(viewer, "moderate") or viewer == reporter:
        return False
    return bool(person == reporter or person == reporter.username)


def name_opener(case: Case, viewer: Any) -> User | None:
    """Who opened it, where the viewer may know."""
    return None if is_unnamed(case, case.opened_by, viewer) else case.opened_by


def list_notes(case: Case, viewer: Any) -> list[dict[str, Any]]:
    """What was said in it, by "Somebody" where the viewer may not know who reported."""
    notes = case.subject.get("notes", [])
    return [{**note, "by": UNNAMED if is_unnamed(case, note["by"], viewer) else note["by"]} for note in notes]
