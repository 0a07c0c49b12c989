"""What follows from a decision about a case, in the transaction that writes it down."""

from collections.abc import Callable

from django.db import transaction

from hub.community.checks import set_check
from hub.community.models import Check
from hub.repos.clearance import Decision, decide, note_publication
from hub.repos.models import Content
from hub.repos.publication import publish
from moderation.cases import voices
from moderation.models import Case, Screening

# kind -> what follows from its decision, where another room of this folder knows it
followers: dict[str, Callable[[Case], None]] = {}


def carry_out(case: Case) -> None:
    """What follows from a decision, in its transaction; the public half follows after it."""
    if case.content is not None and case.kind == Case.Kind.CONTENT:
        is_allowed = case.state == Case.State.ALLOWED
        clearance = Content.Clearance.CLEARED if is_allowed else Content.Clearance.WITHHELD
        decision = Decision(case.content, clearance, "" if is_allowed else case.decision_reason)
        decide(case.repo, [decision], publish_now=False)
        note = note_publication(case.repo)

        def show() -> None:
            publish(case.repo, is_withdrawal=not is_allowed)
            note.delete()

        transaction.on_commit(show)
    elif follow := followers.get(case.kind):
        follow(case)
    elif case.kind == Case.Kind.OUTPUT and case.screening is not None and case.screening.pull_request is not None:
        settle_output(case)


def settle_output(case: Case) -> None:
    screening = case.screening
    assert screening is not None and screening.pull_request is not None
    is_allowed = case.state == Case.State.ALLOWED
    screening.state = Screening.State.PASSED if is_allowed else Screening.State.BLOCKED
    screening.save(update_fields=["state"])
    check = screening.pull_request.checks.filter(name="screen").first()
    if check is None or check.evidence.get("screening") != screening.pk:
        return  # a newer candidate has its own screening
    allowed = f"Allowed by moderators. {voices.name_reasons(case)}"
    set_check(
        screening.pull_request,
        "screen",
        state=Check.State.PASSED if is_allowed else Check.State.FAILED,
        summary=allowed if is_allowed else f"Refused by moderator {case.decided_by}: {case.decision_reason}",
    )
