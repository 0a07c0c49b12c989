"""Whoever reports something is known to moderators, not to the people whom they reported."""

from typing import Any

import pytest
from django.test import Client

from hub.community.models import Notification
from moderation.cases import conversation
from moderation.cases.appeals import appeal
from moderation.cases.quarantines import take_offline
from moderation.cases.queue import decide_case, path_of
from moderation.cases.reports import open_report
from moderation.models import Case
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import CARD, make_repo
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sten(db: None) -> Person:
    return make_person("sten")


@pytest.fixture
def case(alice: Person, sten: Person, mona: Person) -> Case:
    repo = make_repo("dataset", "notes", alice.user, {"README.md": CARD})
    found = open_report(repo=repo, by=sten.user, text="It names my sister.")
    conversation.say(case=found, by=sten.user, text="On page two.")
    found.refresh_from_db()
    return found


def read(person: Person, case: Case) -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    return Client().get(f"/api/v1/moderation/cases/{case.pk}", headers=headers).json()


def test_the_people_of_a_repository_do_not_read_who_reported_it(
    case: Case, alice: Person, sten: Person, mona: Person, browser_of: Browser
) -> None:
    seen = browser_of(alice).get(path_of(case)).content.decode()
    assert "It names my sister." in seen and "On page two." in seen and "sten" not in seen
    assert not Notification.objects.filter(user=alice.user, text__contains="sten").exists()
    assert Notification.objects.filter(user=mona.user, text__startswith="sten wrote").exists()
    for person in (mona, sten):
        assert "sten" in words(browser_of(person).get(path_of(case)))
    told = {person: read(person, case) for person in (alice, mona)}
    assert told[alice]["opened_by"] is None and "sten" not in str(told[alice])
    assert told[mona]["opened_by"] == "sten"


def test_nor_when_the_reporter_asks_for_another_look(
    case: Case, alice: Person, sten: Person, mona: Person, browser_of: Browser
) -> None:
    decide_case(case=case, by=mona.user, state="refused", reason="It is a public figure.")
    case.refresh_from_db()
    again = appeal(case=case, by=sten.user, text="She is not.")
    assert "sten" not in browser_of(alice).get(path_of(again)).content.decode()
    told = Notification.objects.filter(user=alice.user).values_list("text", flat=True)
    assert not any("sten" in text for text in told)
    assert any("was looked at, and nothing follows from it. It is a public figure." in text for text in told)


def test_what_was_decided_is_told_as_it_is(case: Case, alice: Person, mona: Person, browser_of: Browser) -> None:
    took = take_offline(case=case, by=mona.user, reason="It may be copied.")
    told = Notification.objects.filter(user=alice.user).latest("pk").text
    assert told == f"A moderator decided: {case.repo} is offline. It may be copied."
    page = words(browser_of(alice).get(f"/datasets/{case.repo.full_name}"))
    assert f"Case {took.case_id} is where its people ask for another look." in page
    assert "It is online again after" in page
