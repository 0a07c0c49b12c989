"""What the people of a case say about it: the owner of a file explains, a moderator asks back."""

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Forbidden, InvalidInput
from hub.community.listeners import notify
from moderation.cases.queue import MAX_REASON_CHARACTERS, concerned, may_see, path_of
from moderation.cases.reporters import UNNAMED, is_unnamed
from moderation.cases.reports import storable
from moderation.models import Case
from moderation.people import moderators

MAX_NOTES = 100  # of one case


@transaction.atomic
def say(*, case: Case, by: User, text: str) -> Case:
    """Add words to a case; all its people may, while it is open and after. They are told."""
    require(by, "answer", case.repo)
    row = Case.objects.select_for_update().select_related("repo").get(pk=case.pk)
    if not may_see(row, by):
        raise Forbidden("Only the people of this case talk in it.")
    if not text.strip():
        raise InvalidInput("Write a sentence first.")
    if len(text) > MAX_REASON_CHARACTERS:
        raise InvalidInput(f"At most {MAX_REASON_CHARACTERS:,} characters at once; shorten it.")
    notes = list(row.subject.get("notes", []))
    if len(notes) >= MAX_NOTES:
        raise InvalidInput(f"A case holds at most {MAX_NOTES} notes; go on in a discussion of the repository.")
    note = {"by": by.username, "at": timezone.now().isoformat(), "text": storable(text.strip())}
    row.subject = {**row.subject, "notes": [*notes, note]}
    row.save(update_fields=["subject"])
    people = {user.pk: user for user in [*concerned(row), *moderators()] if user is not None}
    for person in people.values():
        name = UNNAMED if is_unnamed(row, by, person) else str(by)
        notify([person], f"{name} wrote in case {row.pk} of {row.repo}", path_of(row), actor=by)
    return row
