"""One act on several cases: each gets its own decision, log entry and message, by the rules that hold for it alone. What
cannot be done is told for each case in a sentence, and keeps nothing else from being done.

Sent twice, it does nothing twice: who finds that they decided a case so, with these words, already is told what came of it."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Conflict, Forbidden, HubError, InvalidInput
from hub.storage.errors import StorageError, StoreUnavailable
from moderation.cases import voices
from moderation.cases.deadlines import CLAIMED_FOR, claim, claimer_of
from moderation.cases.queue import MAX_REASON_CHARACTERS, State, check_clause, check_state, decide_case, find_case
from moderation.cases.queue import why_not_decide as why_not_decide_case
from moderation.models import Case

MAX_CASES = 100  # at once: the person waits, about three seconds for so many files
ACTS = ("claim", "dismiss", "decide")  # dismiss: reports in which nothing is wrong
EFFECTS = {  # (kind, state) -> what comes of it
    ("content", "allowed"): "The file becomes public.",
    ("content", "refused"): "Only members see the file.",
    ("output", "allowed"): "The check passes, and the proposal can be merged.",
    ("output", "refused"): "The check fails.",
    ("report", "resolved"): "Closed: something was done.",
    ("report", "waiting"): "Accepted: it waits for a fix.",
    ("report", "refused"): "Closed: nothing is wrong.",
    ("exempt", "allowed"): "The exception is granted.",
    ("exempt", "refused"): "The exception is refused.",
    ("offline", "allowed"): "It is online again.",
    ("offline", "refused"): "It stays offline.",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What is to be done with each case, checked as far as it is the same for all."""

    by: User
    act: str
    state: str  # "" for a claim
    reason: str
    clause: str
    now: datetime


@dataclass(frozen=True)
class Outcome:
    """Of one case: done (or, of a preview, to be done), or why not."""

    number: int
    case: Case | None  # None where there is none that this person may see
    is_done: bool
    sentence: str
    status: int = 200  # as if it had been asked for alone: 400, 403, 404, 409; 500 where the hub broke


def make_wish(
    *, by: User, act: str, state: str = "", reason: str = "", clause: str = "", now: datetime | None = None
) -> Wish:
    """Raises Forbidden for who does not moderate, InvalidInput for an act that there is not."""
    require(by, "moderate")
    if act not in ACTS:
        raise InvalidInput(f"Several cases can be {' or '.join(ACTS)}, not {act[:40]!r}.")
    check_clause(clause)
    state = {"claim": "", "dismiss": State.REFUSED.value}.get(act, state)
    if state not in {known for _, known in EFFECTS} and act != "claim":
        raise InvalidInput("Say what is decided: allowed or refused; of reports resolved, waiting or refused.")
    reason = reason.strip()[:MAX_REASON_CHARACTERS]
    return Wish(by=by, act=act, state=state, reason=reason, clause=clause, now=now or timezone.now())


def check_numbers(numbers: Iterable[int]) -> list[int]:
    """Each once, in order."""
    found = list(dict.fromkeys(numbers))
    if not found:
        raise InvalidInput("Select at least one case.")
    if len(found) > MAX_CASES:
        raise InvalidInput(f"At most {MAX_CASES} cases at once, not {len(found):,}; do the rest after that.")
    return found


def preview(wish: Wish, numbers: Iterable[int]) -> list[Outcome]:
    """What `carry_out_wish` would do at this moment. Changes nothing."""
    return [try_one(wish, number, is_preview=True) for number in check_numbers(numbers)]


def carry_out_wish(wish: Wish, numbers: Iterable[int]) -> list[Outcome]:
    """Each case in a transaction of its own. Raises InvalidInput where the reason of a decision is missing."""
    numbers = check_numbers(numbers)
    if wish.state and not wish.reason:
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    return [try_one(wish, number) for number in numbers]


def try_one(wish: Wish, number: int, *, is_preview: bool = False) -> Outcome:
    case = None
    try:
        case = find_case(number, wish.by)
        if is_preview:
            if is_new := not is_done_already(wish, case):
                check_case(wish, case)
            return Outcome(number, case, True, tell_effect(wish, case, is_preview=is_new))
        do_one(wish, case)
        case = find_case(number, wish.by)
        return Outcome(number, case, True, tell_effect(wish, case))
    except HubError as refusal:
        return tell_refusal(number, case, refusal.message, refusal.status)
    except Case.DoesNotExist:  # deleted with its repository in between
        return Outcome(number, None, False, "There is no such case any more.", 404)
    except (StorageError, StoreUnavailable, DatabaseError):  # one that breaks must not keep the others waiting
        log.exception("Case %s could not be carried out with others.", number)
        sentence = "The hub could not finish this one; open it to see how far it came."
        return tell_refusal(number, case, sentence, 500)


def tell_refusal(number: int, case: Case | None, sentence: str, status: int) -> Outcome:
    if case is not None:  # somebody may have been faster, or it broke after the decision was written
        case.state = Case.objects.filter(pk=case.pk).values_list("state", flat=True).first() or case.state
    return Outcome(number, case, False, sentence, status)


@transaction.atomic
def do_one(wish: Wish, case: Case) -> None:
    """Under the lock of the row, so that nobody claims or decides it between the look and the act; nothing where this person
    did it before."""
    row = Case.objects.select_for_update(of=("self",)).select_related("repo", "claimed_by").get(pk=case.pk)
    if is_done_already(wish, row):
        return
    check_case(wish, row)
    if wish.act == "claim":
        claim(case=row, by=wish.by, now=wish.now)
    else:
        decide_case(case=row, by=wish.by, state=wish.state, reason=wish.reason, clause=wish.clause)


def check_case(wish: Wish, case: Case) -> None:
    """Raises what speaks against it. Who decides a single case may do so while another has claimed it; several at once may
    not, since nobody has read them as closely as the one who did."""
    if wish.act == "dismiss" and case.kind != Case.Kind.REPORT:
        raise InvalidInput(
            f"Only reports are dismissed; this is: {case.get_kind_display().lower()}. Decide it instead."
        )
    if wish.state:
        check_state(case, wish.state)
    if problem := why_not_decide_case(case, wish.by):
        raise Forbidden(problem) if case.state == State.OPEN else Conflict(problem)
    holder = claimer_of(case, wish.now)
    if holder is not None and holder != wish.by:
        raise Conflict(f"{holder} looks at it until {case.claimed_until:%H:%M} UTC.")


def is_done_already(wish: Wish, case: Case) -> bool:
    """Whether this person decided so before, in these words."""
    if not wish.reason:
        return False
    is_decided = case.state == wish.state and case.decided_by_id == wish.by.pk
    if is_decided and case.decision_reason == wish.reason and case.subject.get("clause", "") == wish.clause:
        return True
    spoken = case.voices.filter(by=wish.by, state=wish.state, reason=wish.reason)
    return case.state in (State.OPEN, wish.state) and voices.is_exception(case, wish.state) and spoken.exists()


def tell_effect(wish: Wish, case: Case, *, is_preview: bool = False) -> str:
    if wish.act == "claim":
        return f"Yours until {wish.now + CLAIMED_FOR:%H:%M} UTC."
    missing = voices.count_missing(case) - is_preview if voices.is_exception(case, wish.state) else 0
    if missing > 0:
        return "One more moderator has to agree."
    return EFFECTS[case.kind, wish.state]
