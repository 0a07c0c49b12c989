"""Offline at once by one moderator, online again by itself unless another one agrees; whom it concerns can appeal."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from django.utils import timezone

from hub.common.errors import Conflict, Disabled, Forbidden, InvalidInput
from hub.community.models import Notification
from hub.repos.find import find_repo
from moderation.cases.appeals import appeal, may_appeal
from moderation.cases.conversation import say
from moderation.cases.quarantines import find_quarantine, lapse_due, lift, second, take_offline
from moderation.cases.queue import decide_case, find_case
from moderation.cases.reports import open_report
from moderation.models import AuditEntry, Case, Quarantine, Release
from moderation.releasing.publishing import set_state
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import ROWS, Workshop, bring, is_public_object, make_repo, reader
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)
REASON = "It holds letters of people who did not agree."


@pytest.fixture
def nora(db: None) -> Person:
    return make_person("nora", is_moderator=True)


@pytest.fixture
def reported(alice: Person, bob: Person, charlie: Person, mona: Person, nora: Person) -> Case:
    """Charlie says that Alice's letters are stolen."""
    repo = make_repo("dataset", "letters", alice.user, {"train.jsonl": ROWS})
    return open_report(repo=repo, by=charlie.user, text="These are my aunt's letters.")


@pytest.fixture
def offline(reported: Case, mona: Person) -> Quarantine:
    return take_offline(case=reported, by=mona.user, reason=REASON, clause="personal-data")


def look(case: Case, user: Any = None) -> Any:
    from django.contrib.auth.models import AnonymousUser

    return find_repo("dataset", "alice/letters", user or AnonymousUser())


def test_one_moderator_takes_a_reported_repository_offline_at_once(
    reported: Case, alice: Person, charlie: Person, mona: Person, nora: Person
) -> None:
    commit = reported.repo.head
    assert is_public_object(reported.repo, commit)
    made = take_offline(case=reported, by=mona.user, reason=REASON, clause="personal-data")
    assert not is_public_object(reported.repo, commit)
    for stranger in (None, charlie.user):
        with pytest.raises(Disabled, match=REASON):
            look(reported, stranger)
    for reading in (alice, mona):  # its people still see what it holds
        assert reader(look(reported, reading.user), reading.user).resolve("main") == commit
    with pytest.raises(Forbidden):
        bring(look(reported, alice.user), alice.user, {"more.txt": b"more"})
    assert made.lapses_at - made.at == timedelta(hours=72)
    assert (made.case.state, made.case.decided_by, made.case.subject["clause"]) == (
        "refused",
        mona.user,
        "personal-data",
    )
    entry = AuditEntry.objects.get(action="case.refused")
    assert entry.is_public and entry.data["reason"] == REASON
    assert REASON in Notification.objects.filter(user=alice.user).latest("pk").text
    assert Notification.objects.filter(user=nora.user, text__startswith="To second within 72 hours").exists()
    with pytest.raises(Conflict, match="offline already"):
        take_offline(case=reported, by=nora.user, reason=REASON)


def test_a_private_repository_that_is_offline_still_looks_missing(alice: Person, bob: Person, mona: Person) -> None:
    from hub.common.errors import RepoNotFound

    mine = make_repo("dataset", "letters", alice.user, {"a.jsonl": ROWS}, is_private=True)
    case = open_report(repo=mine, by=alice.user, text="I cannot open it.")
    take_offline(case=case, by=mona.user, reason=REASON)
    with pytest.raises(RepoNotFound):
        look(case, bob.user)
    assert not AuditEntry.objects.get(action="case.refused").is_public


def test_it_ends_by_itself_after_72_hours_unless_another_moderator_agrees(
    offline: Quarantine, alice: Person, charlie: Person, mona: Person, nora: Person
) -> None:
    assert lapse_due(offline.lapses_at - timedelta(seconds=1)) == 0
    assert lapse_due(offline.lapses_at) == 1 and lapse_due(offline.lapses_at) == 0
    offline.refresh_from_db()
    assert offline.ended_by is None and offline.ended_at is not None
    repo = look(offline.case)
    assert is_public_object(repo, repo.head)
    assert AuditEntry.objects.get(action="quarantine.lapsed").is_public
    for person in (alice, charlie, mona, nora):  # nobody has to find out by chance
        assert Notification.objects.filter(user=person.user, text__contains="online again").exists()
    report = Case.objects.get(kind="report")
    with pytest.raises(Forbidden, match="Yours ended"):
        take_offline(case=report, by=mona.user, reason=REASON)
    assert take_offline(case=report, by=nora.user, reason=REASON).by == nora.user


def test_nobody_begins_one_again_and_again_by_lifting_it_in_time(
    offline: Quarantine, mona: Person, nora: Person
) -> None:
    """Lifted in its 71st hour it began with a fresh 72, for ever."""
    lift(quarantine=offline, by=mona.user, reason="A moment.")
    report = Case.objects.get(kind="report")
    with pytest.raises(Forbidden, match="Yours ended"):
        take_offline(case=report, by=mona.user, reason=REASON)
    assert take_offline(case=report, by=nora.user, reason=REASON).by == nora.user


def test_the_page_of_the_case_says_who_and_until_when(
    offline: Quarantine, alice: Person, nora: Person, browser_of: Browser
) -> None:
    address = f"/moderation/cases/{offline.case.pk}"
    page = words(browser_of(alice).get(address))
    assert "Taken offline by mona" in page and REASON in page and "Ask for another look" in page
    assert browser_of(nora).post(f"{address}/offline", {"act": "second", "reason": "So it is."}).status_code == 302
    assert "Second moderator nora" in words(browser_of(alice).get(address))


def test_a_seconded_quarantine_lasts_until_it_is_lifted(
    offline: Quarantine, bob: Person, mona: Person, nora: Person
) -> None:
    with pytest.raises(Forbidden, match="took it offline yourself"):
        second(quarantine=offline, by=mona.user, reason="Yes.")
    with pytest.raises(Forbidden):
        second(quarantine=offline, by=bob.user, reason="Yes.")
    with pytest.raises(InvalidInput, match="Give the reason"):
        second(quarantine=offline, by=nora.user, reason=" ")
    second(quarantine=offline, by=nora.user, reason="I read three of them.")
    assert lapse_due(offline.lapses_at + timedelta(days=900)) == 0
    with pytest.raises(Disabled):
        look(offline.case)
    with pytest.raises(Forbidden, match="another moderator has to lift it"):
        lift(quarantine=offline, by=mona.user, reason="I changed my mind.")
    lift(quarantine=offline, by=nora.user, reason="They agreed.")
    assert look(offline.case).is_disabled is False and find_quarantine(offline.repo) is None
    with pytest.raises(Forbidden, match="has ended"):
        lift(quarantine=offline, by=nora.user, reason="Again.")


def test_who_took_it_offline_alone_takes_it_back(offline: Quarantine, mona: Person) -> None:
    lift(quarantine=offline, by=mona.user, reason="I mistook the name.")
    assert look(offline.case).is_disabled is False


def test_the_database_knows_that_the_second_is_another(offline: Quarantine, mona: Person) -> None:
    with pytest.raises(IntegrityError):
        Quarantine.objects.filter(pk=offline.pk).update(seconded_by=mona.user)


def test_the_owner_answers_and_appeals_to_somebody_who_did_not_decide(
    offline: Quarantine, alice: Person, charlie: Person, mona: Person, nora: Person
) -> None:
    case = find_case(offline.case.pk, alice.user)
    assert may_appeal(case, alice.user) and not may_appeal(case, charlie.user)
    say(case=case, by=alice.user, text="They are from 1911.")
    again = appeal(case=case, by=alice.user, text="All of them are out of copyright, and the people long dead.")
    with pytest.raises(Forbidden, match="decided this before"):
        decide_case(case=again, by=mona.user, state="allowed", reason="Well.")
    decide_case(case=again, by=nora.user, state="allowed", reason="They are from 1911 indeed.")
    offline.refresh_from_db()
    assert offline.ended_by == nora.user and is_public_object(look(case), look(case).head)


def test_the_page_of_an_appeal_asks_for_one_decision_and_says_what_holds_until_then(
    offline: Quarantine, alice: Person, nora: Person, browser_of: Browser
) -> None:
    """It had two forms that do the same, spoke of a reporter, and said "is offline" when it was online again."""
    again = appeal(case=offline.case, by=alice.user, text="They are from 1911.")
    page = words(browser_of(nora).get(f"/moderation/cases/{again.pk}"))
    assert "Your decision" in page and "Your word on it" not in page
    assert "Until then it is as the first decision left it." in page and "Who reported it" not in page
    assert "What is offline" in page
    decide_case(case=again, by=nora.user, state="allowed", reason="They are indeed.")
    page = words(browser_of(nora).get(f"/moderation/cases/{again.pk}"))
    assert "What was offline" in page and "programs are told" not in page


def test_a_refused_appeal_counts_as_the_second_moderators_word(
    offline: Quarantine, alice: Person, nora: Person
) -> None:
    again = appeal(case=find_case(offline.case.pk, alice.user), by=alice.user, text="Please.")
    decide_case(case=again, by=nora.user, state="refused", reason="They name living people.")
    offline.refresh_from_db()
    assert offline.seconded_by == nora.user
    assert lapse_due(offline.lapses_at + timedelta(days=1)) == 0


def test_an_appeal_is_settled_when_the_quarantine_lapses(offline: Quarantine, alice: Person) -> None:
    again = appeal(case=find_case(offline.case.pk, alice.user), by=alice.user, text="Please.")
    lapse_due(offline.lapses_at)
    again.refresh_from_db()
    assert again.state == "resolved"


def test_moderators_with_a_part_in_it_do_not_decide(reported: Case, alice: Person, charlie: Person) -> None:
    for person, why in ((alice, "You maintain"), (charlie, "You opened this case")):
        person.user.is_moderator = True
        person.user.save()
        with pytest.raises(Forbidden, match=why):
            take_offline(case=reported, by=person.user, reason=REASON)
    assert not Quarantine.objects.exists()


def test_the_quarantine_of_a_release_lapses_too_and_its_users_are_told(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    set_state(release=published, by=mona.user, state="quarantined", reason="It gives away an address.")
    row = find_quarantine(releasable.model, published)
    assert row is not None and row.by == mona.user and may_appeal(row.case, releasable.owner)
    for pin in ("v1.0.0", published.commit):
        with pytest.raises(Disabled, match="gives away an address"):
            reader(releasable.model).resolve(pin)
    assert lapse_due(row.lapses_at) == 1
    assert reader(releasable.model).resolve("v1.0.0") == reader(releasable.model).resolve("stable") == published.commit
    published.refresh_from_db()
    assert (published.state, published.is_held_by_moderator) == ("published", False)


def test_a_release_that_was_yanked_lapses_to_yanked(releasable: Workshop, published: Release, mona: Person) -> None:
    set_state(release=published, by=releasable.owner, state="yanked", reason="It is wrong.")
    set_state(release=published, by=mona.user, state="quarantined", reason="It is worse.")
    assert lapse_due(timezone.now() + timedelta(hours=73)) == 1
    published.refresh_from_db()
    assert published.state == "yanked"


def test_what_the_gate_refuses_by_now_stays_closed_when_its_quarantine_lapses(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    from hub.repos.clearance import set_clearance
    from tests.moderation.scenes import content_at

    set_state(release=published, by=mona.user, state="quarantined", reason="Its data may be stolen.")
    set_clearance(contents=[content_at(releasable.data, "train.jsonl")], clearance="withheld", reason="It is.")
    assert lapse_due(timezone.now() + timedelta(hours=73)) == 1
    published.refresh_from_db()
    assert published.state == "quarantined"
    assert AuditEntry.objects.filter(action="release.stays_closed").exists()
    told = AuditEntry.objects.filter(action__startswith="quarantine.").latest("number")
    assert told.action == "quarantine.ended" and "stays offline" in told.data["reason"]
    row = Quarantine.objects.get(release=published)
    assert "It stays offline: Its quarantine ended" in row.end_reason
    news = Notification.objects.filter(user=releasable.owner).latest("pk").text
    assert "stays offline until a moderator lifts it" in news
    assert not Notification.objects.filter(text__contains="is online again").exists()


def test_an_appeal_waits_on_while_the_gate_keeps_a_release_closed(
    releasable: Workshop, published: Release, mona: Person
) -> None:
    from hub.repos.clearance import set_clearance
    from moderation.cases.appeals import appeal
    from tests.moderation.scenes import content_at

    set_state(release=published, by=mona.user, state="quarantined", reason="Its data may be stolen.")
    row = Quarantine.objects.get(release=published)
    asked = appeal(case=row.case, by=releasable.owner, text="It is not.")
    set_clearance(contents=[content_at(releasable.data, "train.jsonl")], clearance="withheld", reason="It is.")
    assert lapse_due(timezone.now() + timedelta(hours=73)) == 1
    asked.refresh_from_db()
    assert asked.state == Case.State.OPEN
