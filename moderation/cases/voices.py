"""Two moderators: what the screens or the gate found against a model is set aside by two people who have no part in it,
each with a reason. One alone can refuse, and one alone can step back from a case."""

from collections.abc import Callable
from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.listeners import notify
from moderation import audit
from moderation.models import Case, CaseVoice
from moderation.people import moderators

NEEDED_MODERATORS = 2
EXCEPTIONAL = (Case.Kind.OUTPUT, Case.Kind.EXEMPT)  # kinds in which "allowed" speaks against a verdict
State = CaseVoice.State
# Whether a person has a part in what a case judges. Set by moderation.cases.case_stakes, which asks the rooms above this one.
parts: list[Callable[[Case, User], bool]] = []


def is_exception(case: Case, state: str) -> bool:
    return case.kind in EXCEPTIONAL and state == State.ALLOWED


def list_allowing(case: Case) -> list[CaseVoice]:
    """Voices that allow it, of people who are still here and have no part in it by now, in order."""
    return [voice for voice in voices_for(case) if not has_part_in(case, voice.by)]


def list_spent(case: Case) -> list[CaseVoice]:
    """Voices that allowed it and count no more: their people got a part in it afterwards."""
    return [voice for voice in voices_for(case) if has_part_in(case, voice.by)]


def voices_for(case: Case) -> list[CaseVoice]:
    rows = case.voices.filter(state=State.ALLOWED, by__is_active=True, by__is_system=False)
    return list(rows.select_related("by").order_by("pk"))


def has_part_in(case: Case, user: User) -> bool:
    return any(part(case, user) for part in parts)


def count_missing(case: Case) -> int:
    """How many more moderators have to allow it. None on a hub with one person: nobody else could, and the log says so."""
    if case.kind not in EXCEPTIONAL or count_active_people() == 1:
        return 0
    return max(0, NEEDED_MODERATORS - len(list_allowing(case)))


def is_half_allowed(case: Case) -> bool:
    """Allowed by one moderator at a time when one was enough, or by two of whom one left or got a part in it: another may
    add a voice."""
    return case.kind in EXCEPTIONAL and case.state == Case.State.ALLOWED and count_missing(case) > 0


def raise_voice(case: Case, by: User, state: str, reason: str) -> None:
    """In the transaction that holds the case. Raises Conflict for who spoke already."""
    if case.voices.filter(by=by).exists():
        raise Conflict("You have said your word on this case; it needs another moderator.")
    CaseVoice.objects.create(case=case, by=by, state=state, reason=reason)


def why_not_speak(case: Case, user: Any) -> str:
    """ "" unless this moderator stepped back, or spoke already."""
    voice = case.voices.filter(by=user).first() if case.pk else None
    if voice is None:
        return ""
    if voice.state == State.RECUSED:
        return "You stepped back from this case; another moderator decides it."
    return "You have said your word on this case; it needs another moderator."


def name_reasons(case: Case) -> str:
    """Who allowed it, and why, in one line."""
    return "; ".join(f"{voice.by}: {voice.reason}" for voice in list_allowing(case))


def name_spent(case: Case) -> str:
    """Whose word counts no more, and what to do."""
    names = " and ".join(str(voice.by) for voice in list_spent(case))
    return (
        f"{names} allowed it and has a part in it by now, so that word counts no more; "
        f"another moderator has to allow it in case {case.pk}."
    )


@transaction.atomic
def recuse(*, case: Case, by: User, reason: str) -> CaseVoice:
    """Step back, for a reason that the rows cannot know: friendship, work, an earlier quarrel. Not taken back."""
    require(by, "moderate")
    row = Case.objects.select_for_update(of=("self",)).select_related("repo").get(pk=case.pk)
    if row.state != Case.State.OPEN:
        raise Conflict(f"This case is {row.get_state_display().lower()} already.")
    if not reason.strip():
        raise InvalidInput("Say in a sentence what part you have in it.")
    if problem := why_not_speak(row, by):
        raise Forbidden(problem)
    voice = CaseVoice.objects.create(case=row, by=by, state=State.RECUSED, reason=reason.strip()[:1000])
    audit.record("case.recused", str(row.repo), by=by, case=row.pk)
    others = [user for user in moderators() if user != by]
    notify(others, f"{by} stepped back from a case of {row.repo}: {row.title}", f"/moderation/cases/{row.pk}", actor=by)
    return voice
