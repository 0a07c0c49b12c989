"""Queue and cases as people meet them in a browser, and what members read beside their files."""

from typing import Any

import pytest

from moderation.cases.queue import decide_case
from moderation.cases.reports import open_report
from moderation.models import Case
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import SECRET, Workshop, bring, make_repo
from tests.moderation.test_output_screening import spoil
from tests.people import Person

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_queue_is_for_moderators_and_others_see_their_own(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    assert browser_of(None).get("/moderation").status_code == 302
    page = browser_of(mona).get("/moderation")
    assert "notes.txt" in words(page) and f"/moderation/cases/{held.pk}" in page.content.decode()
    assert "notes.txt" in words(browser_of(alice).get("/moderation"))
    assert "There is no case that concerns you" in words(browser_of(charlie).get("/moderation"))


def test_the_queue_filters_and_says_when_it_is_empty(held: Case, mona: Person, browser_of: Browser) -> None:
    browser = browser_of(mona)
    assert "Nothing matches" in words(browser.get("/moderation?kind=report"))
    assert "notes.txt" in words(browser.get("/moderation?kind=content&q=tides"))
    decide_case(case=held, by=mona.user, state="refused", reason="It is real.")
    assert "Nothing waits for a decision" in words(browser.get("/moderation"))
    assert "notes.txt" in words(browser.get("/moderation?state=decided"))


def test_the_queue_costs_a_fixed_number_of_queries(
    held: Case, charlie: Person, mona: Person, browser_of: Browser, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        open_report(repo=held.repo, by=charlie.user, text=f"Wrong in line {number}.")
    browser = browser_of(mona)
    with django_assert_max_num_queries(
        9
    ):  # session, user, five for the order, cases with their people, unread notifications
        browser.get("/moderation")


def test_a_moderators_desk_says_how_much_waits(held: Case, alice: Person, mona: Person, browser_of: Browser) -> None:
    assert "1 case waits for a moderator" in words(browser_of(mona).get("/"))
    assert "waits for a moderator" not in words(browser_of(alice).get("/"))


def test_a_number_that_no_case_can_have_is_no_case(held: Case, mona: Person, browser_of: Browser) -> None:
    assert browser_of(mona).get(f"/moderation/cases/{10**40}").status_code == 404


def test_a_moderator_decides_on_the_page_of_the_case(held: Case, mona: Person, browser_of: Browser) -> None:
    browser = browser_of(mona)
    address = f"/moderation/cases/{held.pk}"
    text = words(browser.get(address))
    assert "It waits for a moderator" in text and "notes.txt:1" in text and SECRET not in text
    refused = browser.post(f"{address}/decide", {"state": "allowed", "reason": ""})
    assert refused.status_code == 400 and "Give the reason" in words(refused)
    done = browser.post(f"{address}/decide", {"state": "allowed", "reason": "From a manual.", "clause": "secrets"})
    assert done.status_code == 302 and done["Location"] == address
    assert "Allowed by mona" in words(browser.get(address)) and "From a manual." in words(browser.get(address))
    twice = browser.post(f"{address}/decide", {"state": "refused", "reason": "No."})
    assert twice.status_code == 409 and "allowed already" in words(twice)


def test_a_moderator_withholds_a_file_from_the_page_of_a_report(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    case = open_report(repo=held.repo, by=charlie.user, text="It is real.", subject={"path": "notes.txt"})
    assert "Withhold this file" not in words(browser_of(alice).get(f"/moderation/cases/{case.pk}"))
    browser = browser_of(mona)
    assert 'value="notes.txt"' in browser.get(f"/moderation/cases/{case.pk}").content.decode()
    given = {"act": "withhold", "path": "notes.txt", "reason": "The key works."}
    done = browser.post(f"/moderation/cases/{case.pk}/file", given)
    assert done.status_code == 302
    text = words(browser.get(done["Location"]))
    assert "Refused by mona" in text and "Show this file again" in text
    twice = browser.post(f"/moderation/cases/{case.pk}/file", given)
    assert twice.status_code == 409 and "withheld already" in words(twice)


def test_the_page_of_a_case_is_for_its_people(
    held: Case, alice: Person, bob: Person, charlie: Person, browser_of: Browser
) -> None:
    address = f"/moderation/cases/{held.pk}"
    assert browser_of(None).get(address).status_code == 302
    assert browser_of(charlie).get(address).status_code == 404
    for person in (alice, bob):
        page = browser_of(person).get(address)
        assert page.status_code == 200 and "Your decision" not in words(page)
    assert browser_of(bob).post(f"{address}/decide", {"state": "allowed", "reason": "Mine."}).status_code == 403
    held.refresh_from_db()
    assert held.state == "open"


def test_whom_it_concerns_asks_for_another_look(held: Case, alice: Person, mona: Person, browser_of: Browser) -> None:
    decide_case(case=held, by=mona.user, state="refused", reason="It is real.")
    browser = browser_of(alice)
    assert "Ask for another look" in words(browser.get(f"/moderation/cases/{held.pk}"))
    done = browser.post(f"/moderation/cases/{held.pk}/appeal", {"text": "It is from a manual."})
    again = Case.objects.get(state="open")
    assert done["Location"] == f"/moderation/cases/{again.pk}"
    assert "asks for another look" in words(browser_of(mona).get(f"/moderation/cases/{again.pk}"))
    assert "You decided this before" in words(browser_of(mona).get(f"/moderation/cases/{again.pk}"))


def test_the_people_of_a_case_talk_in_it(
    held: Case, alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    from hub.community.models import Notification

    address = f"/moderation/cases/{held.pk}"
    assert browser_of(charlie).post(f"{address}/say", {"note": "Me too."}).status_code == 404
    assert browser_of(alice).post(f"{address}/say", {"note": " "}).status_code == 400
    done = browser_of(alice).post(f"{address}/say", {"note": "It is the key of a **manual**."})
    assert done["Location"] == f"{address}#conversation"
    browser_of(mona).post(f"{address}/say", {"note": "Which manual?"})
    page = browser_of(alice).get(address)
    assert "<strong>manual</strong>" in page.content.decode() and "mona said just now Which manual?" in words(page)
    assert Notification.objects.filter(user=mona.user, text__startswith="alice wrote in case").exists()
    assert Notification.objects.filter(user=alice.user, text__startswith="mona wrote in case").exists()
    decide_case(case=Case.objects.get(), by=mona.user, state="refused", reason="It works.")
    held.refresh_from_db()
    assert len(held.subject["notes"]) == 2


def test_flagged_answers_stand_beside_the_parents_behind_a_click(
    workshop: Workshop, mona: Person, tmp_path: Any, browser_of: Browser
) -> None:
    run = workshop.train(workshop.propose(), tmp_path / "model")
    workshop.sample(run, spoil())
    case = Case.objects.get()
    page = browser_of(mona).get(f"/moderation/cases/{case.pk}").content.decode()
    assert page.count('class="veil"') >= 5 and "I cannot help with that." in page
    assert (
        "32 more flagged answers" in page and "Your decision</a> stands below" in page
    )  # it was 16 screens of a telephone away
    assert "Violence" in page and "100%" in page
    shown = browser_of(None).get(run.pull_request.discussion.path)
    assert "Screening of its answers" in words(shown) and f"cases/{case.pk}" not in shown.content.decode()


def test_harmful_lines_are_behind_a_click_and_secrets_are_not_repeated(
    alice: Person, mona: Person, browser_of: Browser
) -> None:
    from moderation.models import Finding

    repo = make_repo("dataset", "tides", alice.user)
    bring(repo, alice.user, {"a.txt": f"one\ntwo bad words\n{SECRET}\n".encode()})
    case = Case.objects.get()
    Finding.objects.create(
        screening=case.screening, content=case.content, screen="harmful_text", rule="threat", severity="hold",
        where="a.txt:2", excerpt="…", message="a.txt:2 may threaten somebody.",
    )  # fmt: skip
    page = browser_of(mona).get(f"/moderation/cases/{case.pk}").content.decode()
    veil = page[page.index('class="veil"') : page.index("</details>", page.index('class="veil"'))]
    assert "two bad words" in veil and page.count("two bad words") == 1 and SECRET not in page


# --- what members read beside their files


def test_members_read_on_repository_and_file_why_it_is_not_public(
    held: Case, alice: Person, charlie: Person, browser_of: Browser
) -> None:
    repo = held.repo
    side = words(browser_of(alice).get(repo.path))
    assert "1 file is not public yet" in side and f"Case {held.pk}" in side
    assert "not public yet" not in words(browser_of(charlie).get(repo.path))
    file = words(browser_of(alice).get(f"{repo.path}/blob/main/notes.txt"))
    assert "A moderator decides about this file" in file and "1 finding of the screens" in file
    assert browser_of(charlie).get(f"{repo.path}/blob/main/notes.txt").status_code == 404


def test_trained_weights_are_told_apart_from_what_waits_for_a_person(
    releasable: Workshop, alice: Person, browser_of: Browser
) -> None:
    text = words(browser_of(alice).get(releasable.model.path))
    assert "1 file of trained weights waits for a release" in text
