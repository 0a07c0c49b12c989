"""Whoever reports something is known to moderators, not to the people whom they reported."""

from typing import Any

import pytest
from django.test import Client

from hub.community.models import Notification
from hub.repos.models import RepoCollaborator
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


def test_a_maintainer_finds_the_reports_on_their_repositories_in_the_list(
    case: Case, alice: Person, sten: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    """A message told of the case; the list of what concerns her lacked it."""
    seen = words(browser_of(alice).get("/moderation"))
    assert "It names my sister." in seen and "opened by somebody" in seen and "sten" not in seen
    for person in (sten, mona):
        assert "opened by sten" in words(browser_of(person).get("/moderation"))
    assert "It names my sister." not in words(browser_of(charlie).get("/moderation"))
    RepoCollaborator.objects.create(repo=case.repo, user=charlie.user, role="read")
    assert "It names my sister." not in words(browser_of(charlie).get("/moderation")), "who reads maintains nothing"
    RepoCollaborator.objects.update(role="write")
    assert "It names my sister." in words(browser_of(charlie).get("/moderation"))


def test_the_list_of_a_maintainer_costs_a_fixed_number_of_queries(
    case: Case, alice: Person, sten: Person, browser_of: Browser, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        open_report(repo=case.repo, by=sten.user, text=f"Wrong in line {number}.")
    browser = browser_of(alice)
    with django_assert_max_num_queries(8):
        browser.get("/moderation")


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
