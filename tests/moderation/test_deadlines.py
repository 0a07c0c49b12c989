"""Nothing ages silently: cases are claimed for a while, and what is late is told of until somebody decides it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.common.errors import Conflict, Forbidden
from hub.community.models import Notification
from moderation.cases.deadlines import CLAIMED_FOR, claim, claimer_of, due_at, escalate_overdue
from moderation.cases.queue import decide_case
from moderation.models import AuditEntry, Case
from tests.moderation.reading import Browser, words
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_late_case_is_told_of_again_and_again_until_it_is_decided(held: Case, mona: Person) -> None:
    boss = make_person("boss", is_staff=True)
    due = due_at(held)
    assert due - held.opened_at == timedelta(hours=24)  # it was blocked
    assert escalate_overdue(due - timedelta(seconds=1)) == 0
    assert escalate_overdue(due) == 1 and escalate_overdue(due) == 0
    for person in (boss, mona):
        assert Notification.objects.filter(user=person.user, text__startswith="Late since").count() == 1
    held.refresh_from_db()
    assert escalate_overdue(due_at(held)) == 1 and due_at(held) == due + timedelta(hours=24)
    assert AuditEntry.objects.filter(action="case.escalated").count() == 2
    decide_case(case=held, by=mona.user, state="refused", reason="A key.")
    assert escalate_overdue(due + timedelta(days=900)) == 0


def test_a_claim_keeps_others_away_until_it_runs_out(held: Case, alice: Person, mona: Person) -> None:
    nora, now = make_person("nora", is_moderator=True), timezone.now()
    row = claim(case=held, by=mona.user, now=now)
    assert claimer_of(row, now) == mona.user
    with pytest.raises(Conflict, match="mona looks at it until"):
        claim(case=held, by=nora.user, now=now + CLAIMED_FOR - timedelta(seconds=1))
    assert claimer_of(row, now + CLAIMED_FOR) is None
    assert claim(case=held, by=nora.user, now=now + CLAIMED_FOR).claimed_by == nora.user
    with pytest.raises(Forbidden):
        claim(case=held, by=alice.user, now=now)


def test_the_page_says_by_when_and_with_whom(held: Case, mona: Person, browser_of: Browser) -> None:
    address = f"/moderation/cases/{held.pk}"
    assert "With all moderators" in words(browser_of(mona).get(address))
    assert browser_of(mona).post(f"{address}/claim").status_code == 302
    assert "With mona, until" in words(browser_of(mona).get(address))
