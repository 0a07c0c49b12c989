"""The order of the queue: severity, reach, age and the reporter's accuracy in one sum, told beside each case."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts.models import User
from hub.repos.models import Content, Repo
from moderation.cases.queue import cases_for, decide_case
from moderation.cases.queue_order import list_facts, list_placed
from moderation.cases.ranking import Facts, score
from moderation.cases.reports import open_report
from moderation.models import Case, Release, ReleaseBasis
from tests.guards import lifted
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import SECRET, bring, make_repo
from tests.people import Person, make_person

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


def facts(**given: Any) -> Facts:
    return Facts(**{"severity": 2, "waited": DAY, "allowed": 3 * DAY, "is_report": True, **given})


# --- the score


def test_the_parts_are_as_they_are_written_down() -> None:
    found = score(facts(severity=3, downloads=99, upheld=8, decided=9, waited=3 * DAY, allowed=DAY))
    assert (found.severity, found.reach, found.age, found.accuracy) == (18.0, 2.0, 6.0, round(9 / 11, 3))
    assert found.urgency == 26.818
    wide = facts(downloads=9, copies=1, descendants=2, reporters=5)  # 9 + 3 * 50 + 4 * 10
    assert score(wide).reach == round(2.301029995, 3)
    assert score(facts(downloads=10**9)).reach == 4


def test_the_reasons_are_the_facts_in_words() -> None:
    known = facts(severity=3, downloads=1204, waited=3 * DAY, allowed=4 * DAY, upheld=8, decided=9)
    assert " · ".join(score(known).reasons) == "high severity · 1,204 downloads · waits 3 days · reporter right 8 of 9"
    wide = facts(copies=1, descendants=2, reporters=2, waited=7 * DAY, severity=1)
    assert score(wide).reasons == (
        "low severity", "also in 1 repository", "2 models made from it", "2 people reported it", "waits 7 days, late",
        "first report to be decided",
    )  # fmt: skip
    of_screen = facts(is_report=False, waited=timedelta(seconds=-4), is_open=False)
    assert score(of_screen).reasons == ("medium severity", "waited less than a minute")


def test_reach_and_a_trusted_reporter_lift_nothing_over_a_severer_case_that_waits_as_long() -> None:
    best = facts(severity=2, downloads=10**9, upheld=10**6, decided=10**6)
    worst = facts(severity=3, upheld=0, decided=10**6)
    assert score(worst).urgency > score(best).urgency


def test_what_waits_long_enough_comes_before_everything_new() -> None:
    old = facts(severity=1, waited=71 * DAY, allowed=7 * DAY)
    new = facts(severity=3, waited=timedelta(0), downloads=10**6, upheld=99, decided=99)
    assert score(old).urgency > score(new).urgency


def test_newcomers_are_neither_first_nor_last() -> None:
    by_history = [(9, 9), (8, 9), (0, 0), (1, 9), (0, 9)]
    points = [score(facts(upheld=upheld, decided=decided)).urgency for upheld, decided in by_history]
    assert points == sorted(points, reverse=True) and len(set(points)) == len(points)
    once = score(facts(upheld=1, decided=1)).accuracy
    assert 0.5 < once < score(facts(upheld=20, decided=21)).accuracy  # one lucky hit is no record
    assert score(facts(is_report=False)).accuracy == 0.5


# --- the facts


@pytest.fixture
def tides(alice: Person, mona: Person) -> Repo:
    return make_repo("dataset", "tides", alice.user)


def report(repo: Repo, by: User | None, state: str = "open", *, decider: User | None = None, **more: Any) -> Case:
    ended = {"decided_by": decider, "decided_at": NOW, "opened_at": NOW - 3 * DAY} if state != "open" else {}
    given = {"kind": "report", "severity": 2, "repo": repo, "title": "Wrong.", "opened_by": by, "state": state}
    with lifted():  # cases begin open; these are as they were left
        return Case.objects.create(**{**given, "opened_at": NOW - DAY, **ended, **more})


def found(*cases: Case) -> list[Facts]:
    known = dict(list_facts(Case.objects.filter(pk__in=[case.pk for case in cases]), NOW))
    return [known[case.pk] for case in cases]


@pytest.mark.django_db
def test_a_reporter_is_judged_by_what_people_decided(tides: Repo, charlie: Person, mona: Person) -> None:
    for state in ("resolved", "waiting", "refused"):
        report(tides, charlie.user, state, decider=mona.user)
    report(tides, charlie.user, "resolved")  # closed by the hub: nobody said that it was right
    first = report(tides, charlie.user, "refused", decider=mona.user)
    report(tides, charlie.user, "resolved", decider=mona.user, subject={"appeal_of": first.pk})  # so it was right
    waits, strange, new = report(tides, charlie.user), report(tides, None), report(tides, make_person("nell").user)
    known, nobody, newcomer = found(waits, strange, new)
    assert (known.upheld, known.decided) == (3, 4)
    assert [(one.upheld, one.decided) for one in (nobody, newcomer)] == [(0, 0), (0, 0)]
    assert known.reporters == 2  # two people; who has no account is not counted


@pytest.mark.django_db(transaction=True)
def test_reach_counts_downloads_copies_and_models_made_from_it(alice: Person, bob: Person, mona: Person) -> None:
    repo = make_repo("dataset", "tides", alice.user)
    bring(repo, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    Repo.objects.filter(pk=repo.pk).update(downloads=1204)
    case = Case.objects.get()
    gone = make_repo("dataset", "gone", bob.user)
    others = [make_repo("dataset", name, bob.user) for name in ("copy", "second")]
    for other in (*others, gone):
        Content.objects.create(repo=other, digest=case.content.digest, path="notes.txt")
    Repo.objects.filter(pk=gone.pk).update(deleted_at=timezone.now())
    model = make_repo("model", "talker", bob.user)
    with lifted():
        for version, state in (("1.0.0", "published"), ("1.1.0", "yanked"), ("2.0.0", "proposed")):
            release = Release.objects.create(
                repo=model, version=version, commit="0" * 40, digest="sha256:0", state=state
            )
            for digest in ("git:1", "git:2"):
                ReleaseBasis.objects.create(release=release, repo=repo, digest=digest)
    known = found(case)[0]
    assert (known.downloads, known.copies, known.descendants) == (1204, 2, 1)


@pytest.mark.django_db
def test_the_order_costs_as_many_queries_for_one_case_as_for_many(
    tides: Repo, charlie: Person, mona: Person, django_assert_num_queries: Any
) -> None:
    for number in range(25):
        report(tides, make_person(f"person{number}").user)
        with django_assert_num_queries(5):  # copies, models made from it, open reports, decided reports, the cases
            assert len(list_placed(cases_for(mona.user), NOW)) == number + 1


# --- the page


@pytest.fixture
def three(tides: Repo, alice: Person, charlie: Person, mona: Person) -> dict[str, Case]:
    """An old note, a fresh blocked file's case, a report on what many have."""
    popular = make_repo("dataset", "popular", alice.user)
    Repo.objects.filter(pk=popular.pk).update(downloads=5000)
    now = timezone.now()
    return {
        "old": report(tides, charlie.user, severity=1, opened_at=now - 80 * DAY, title="An old note"),
        "fresh": report(tides, None, severity=3, opened_at=now, title="A fresh block"),
        "popular": report(popular, charlie.user, opened_at=now - DAY, title="What many have"),
    }


def titles_in(text: str, cases: dict[str, Case]) -> list[str]:
    return sorted(cases, key=lambda name: text.index(cases[name].title))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", ["old", "fresh", "popular"]),
        ("severity", ["fresh", "popular", "old"]),
        ("reach", ["popular", "old", "fresh"]),
        ("age", ["old", "popular", "fresh"]),
        ("nonsense", ["old", "fresh", "popular"]),
    ],
)
def test_the_queue_is_sorted_and_says_why(
    three: dict[str, Case], mona: Person, browser_of: Browser, sort: str, order: list[str]
) -> None:
    text = words(browser_of(mona).get(f"/moderation?sort={sort}"))
    assert titles_in(text, three) == order
    assert "medium severity · 5,000 downloads · waits 1 day · first report to be decided" in text
    assert "low severity · waits 80 days, late" in text


@pytest.mark.django_db
def test_how_right_a_reporter_was_is_for_moderators(
    three: dict[str, Case], alice: Person, charlie: Person, mona: Person, browser_of: Browser
) -> None:
    decide_case(case=three["popular"], by=mona.user, state="refused", reason="It is right as it is.")
    assert "reporter right 0 of 1" in words(browser_of(mona).get("/moderation"))
    api = "/api/v1/moderation/cases"
    for person in (alice, charlie):
        browser = browser_of(person)
        for page in ("/moderation", "/moderation?sort=accuracy&state=all", f"/moderation/cases/{three['old'].pk}"):
            text = words(browser.get(page))
            assert "reporter right" not in text and "severity ·" not in text, (person.name, page)
        headers = {"Authorization": f"Bearer {person.token}"}
        assert Client().get(f"{api}?sort=accuracy", headers=headers).status_code == 403
        one = Client().get(f"{api}/{three['old'].pk}", headers=headers)
        assert one.status_code == 200 and "score" not in one.json() and "reporter right" not in one.content.decode()


# --- the door for programs

Pages = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def read_all(mona: Person) -> Pages:
    """All cases that the list tells, page after page as its links say; `between` is called once, after the first page."""

    def read(query: str, between: Callable[[], object] = lambda: None) -> list[dict[str, Any]]:
        address, told = f"/api/v1/moderation/cases?{query}", []
        while address:
            answer = Client().get(address, headers={"Authorization": f"Bearer {mona.token}"})
            assert answer.status_code == 200, answer.content
            told += answer.json()
            link = answer.headers.get("Link", "")
            address = link.split("<")[1].split(">")[0] if link else ""
            if len(told) <= 2:
                between()
        return told

    return read


@pytest.mark.django_db
def test_programs_read_the_same_order_page_by_page(three: dict[str, Case], read_all: Pages) -> None:
    ids = {case.pk: name for name, case in three.items()}
    for sort, order in (
        ("urgency", "old fresh popular"),
        ("severity", "fresh popular old"),
        ("reach", "popular old fresh"),
    ):
        told = read_all(f"state=open&sort={sort}&limit=1")
        assert " ".join(ids[case["id"]] for case in told) == order, sort
    known = {ids[case["id"]]: case["score"] for case in told}
    assert known["popular"]["reasons"][1] == "5,000 downloads" and known["fresh"]["severity"] == 18.0
    whole = known["old"]
    parts = sum(whole[name] for name in ("severity", "reach", "age", "accuracy"))
    assert whole["urgency"] == pytest.approx(parts)
    newest = read_all("limit=2")
    assert [case["id"] for case in newest] == sorted(ids, reverse=True) and newest[0]["score"]["urgency"] > 0


@pytest.mark.django_db
def test_a_case_decided_between_two_pages_hides_no_other(
    three: dict[str, Case], charlie: Person, mona: Person, read_all: Pages
) -> None:
    def decide() -> None:
        case = Case.objects.get(pk=three["old"].pk)
        if case.state == "open":
            decide_case(case=case, by=mona.user, state="refused", reason="No.")

    told = read_all("state=open&sort=urgency&limit=1", decide)
    assert [case["id"] for case in told] == [three[name].pk for name in ("old", "fresh", "popular")]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    ["sort=odd", "sort=urgency&cursor=7", "sort=urgency&cursor=1.2.3.x", "sort=age&cursor=9999999999999999.1.1.1"],
)
def test_an_order_or_a_cursor_that_there_is_not_is_refused(tides: Repo, mona: Person, query: str) -> None:
    answer = Client().get(f"/api/v1/moderation/cases?{query}", headers={"Authorization": f"Bearer {mona.token}"})
    assert answer.status_code == 400 and json.loads(answer.content)["error"]


@pytest.mark.django_db
def test_the_list_for_programs_costs_a_fixed_number_of_queries(
    tides: Repo, charlie: Person, mona: Person, django_assert_max_num_queries: Any
) -> None:
    for number in range(12):
        open_report(repo=tides, by=charlie.user, text=f"Wrong in line {number}.")
    headers = {"Authorization": f"Bearer {mona.token}"}
    for sort in ("urgency", "newest"):
        with django_assert_max_num_queries(8):  # token and its use, five for the order, the cases with their people
            assert len(Client().get(f"/api/v1/moderation/cases?sort={sort}", headers=headers).json()) == 12
