"""How this hub judges, in figures that were counted by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from moderation.cases.queue import decide_case
from moderation.models import AuditEntry, Case, Finding, Release, ReleaseChange, Screening
from moderation.transparency import PERIODS, describe_times, read_figures
from tests.guards import lifted
from tests.moderation.reading import words
from tests.moderation.scenes import make_repo
from tests.people import Person

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAGE, DOOR = "/moderation/transparency", "/api/v1/moderation/transparency"


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    cache.clear()


@pytest.fixture
def tides(alice: Person) -> Any:
    return make_repo("dataset", "tides", alice.user)


@pytest.fixture
def secret(alice: Person) -> Any:
    return make_repo("dataset", "secret", alice.user, is_private=True)


def open_case(repo: Any, kind: str = "report", state: str = "open", *, days_ago: float = 10, **more: Any) -> Case:
    opened = {
        "kind": kind,
        "state": state,
        "repo": repo,
        "title": "Wrong.",
        "opened_at": NOW - timedelta(days=days_ago),
    }
    with lifted():  # cases begin open; these are as they were left
        return Case.objects.create(**{**opened, **more})


def log(action: str, at: datetime, actor: str = "mona", **data: Any) -> None:
    number = AuditEntry.objects.count() + 1
    AuditEntry.objects.create(
        number=number, at=at, actor=actor, action=action, subject="alice/tides", data=data, is_public=True,
        previous="0" * 64, hash=f"{number:064x}",
    )  # fmt: skip


def stop(repo: Any, rule: str, state: str, severity: str = "hold", **more: Any) -> Case:
    """A screen stopped answers by this rule, and a person decided."""
    screening = Screening.objects.create(subject="output", repo=repo, state="held", created_at=NOW - 48 * HOUR)
    for _ in range(2):  # a rule that finds two things in one case counts once
        Finding.objects.create(screening=screening, screen="secrets", rule=rule, severity=severity, message="Found.")
    return open_case(repo, "output", state, screening=screening, **more)


def test_cases_are_counted_by_kind_and_outcome(tides: Any) -> None:
    for state in ("open", "refused", "refused", "waiting"):
        open_case(tides, "report", state)
    open_case(tides, "content", "allowed")
    open_case(tides, "content", "allowed", days_ago=31)
    figures = read_figures("30", NOW)
    report = {"opened": 4, "open": 1, "allowed": 0, "refused": 2, "resolved": 0, "waiting": 1}
    content = {"opened": 1, "open": 0, "allowed": 1, "refused": 0, "resolved": 0, "waiting": 0}
    assert figures["cases"] == [
        {"kind": "content", "label": "Held content", **content},
        {"kind": "report", "label": "Report", **report},
    ]
    assert [row["opened"] for row in read_figures("90", NOW)["cases"]] == [2, 4]


def test_times_run_to_the_first_act_and_to_the_first_decision_of_a_person(tides: Any) -> None:
    begun = NOW - timedelta(days=10)
    for hours in (1, 2, 3):
        case = open_case(tides, "report", "refused")
        log("report.opened", begun, "charlie", case=case.pk)
        log("case.recused", begun + hours * HOUR / 2, case=case.pk)
        log("case.refused", begun + hours * HOUR, case=case.pk)
        log("case.resolved", begun + 50 * HOUR, case=case.pk)
    by_hub = open_case(tides, "content", "resolved")
    log("case.resolved", begun + HOUR, "", case=by_hub.pk)
    at_once = open_case(tides, "offline", "refused")
    log("case.refused", begun, case=at_once.pk)
    times = read_figures("30", NOW)["times"]
    assert times["first_act"] == {"n": 3, "median_s": 3600, "p90_s": pytest.approx(1.4 * 3600)}
    assert times["decision"] == {"n": 3, "median_s": 7200, "p90_s": pytest.approx(2.8 * 3600)}


def test_one_case_has_its_own_time_and_none_has_none() -> None:
    assert describe_times({1: NOW}, {1: NOW + HOUR}) == {"n": 1, "median_s": 3600, "p90_s": 3600}
    assert describe_times({1: NOW}, {}) == {"n": 0, "median_s": None, "p90_s": None}


def test_an_escalation_does_not_hide_that_a_case_is_overdue(tides: Any) -> None:
    open_case(tides, severity=3, days_ago=400, escalated_at=NOW - HOUR)
    open_case(tides, severity=3, days_ago=0.5)
    open_case(tides, severity=1, days_ago=6)
    assert read_figures("30", NOW)["waiting"] == {"open": 3, "overdue": 1}


def test_overturned_appeals_stand_beside_their_interval(tides: Any) -> None:
    first = [open_case(tides, "content", "refused") for _ in range(5)]
    for case, state in zip(first, ("allowed", "refused", "refused", "open", "resolved"), strict=True):
        open_case(tides, "content", state, subject={"appeal_of": case.pk})
    appeals = read_figures("30", NOW)["appeals"]
    assert (appeals["appealed"], appeals["open"], appeals["decided"], appeals["overturned"]) == (5, 1, 3, 1)
    assert (appeals["rate"], appeals["low"], appeals["high"]) == pytest.approx((1 / 3, 0.0615, 0.7923), abs=1e-4)
    assert read_figures("30", NOW)["cases"][0]["opened"] == 5


def test_a_rule_is_right_where_a_person_refused_too(tides: Any) -> None:
    for state in ("refused", "refused", "refused", "refused", "allowed", "open", "resolved"):
        stop(tides, "aws-key", state)
    stop(tides, "iban", "refused")
    stop(tides, "note", "refused", severity="info")
    rules = read_figures("30", NOW)["rules"]
    assert [(row["rule"], row["upheld"], row["decided"]) for row in rules] == [("aws-key", 4, 5), ("iban", 1, 1)]
    assert (rules[0]["rate"], rules[0]["low"], rules[0]["high"]) == pytest.approx((0.8, 0.3755, 0.9638), abs=1e-4)
    assert rules[1]["rate"] is None and rules[1]["low"] is None


@pytest.mark.django_db(transaction=True)
def test_a_file_that_a_screen_held_and_a_moderator_allowed_counts_against_the_rule(held: Case, mona: Person) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="From a manual.")
    figures = read_figures("30", timezone.now())
    assert [(row["screen"], row["upheld"], row["decided"]) for row in figures["rules"]] == [("secrets", 0, 1)]
    assert figures["times"]["decision"]["n"] == figures["times"]["first_act"]["n"] == 1
    assert figures["cases"][0]["allowed"] == 1 and figures["waiting"] == {"open": 0, "overdue": 0}


def test_the_decision_of_an_appeal_stands_for_the_first(tides: Any) -> None:
    first = stop(tides, "aws-key", "refused")
    open_case(tides, "output", "allowed", screening=first.screening, subject={"appeal_of": first.pk})
    [row] = read_figures("30", NOW)["rules"]
    assert (row["upheld"], row["decided"]) == (0, 1)


def test_private_repositories_are_one_count_and_none_that_is_small(tides: Any, secret: Any) -> None:
    for _ in range(4):
        stop(secret, "aws-key", "refused")
    figures = read_figures("30", NOW)
    assert figures["hidden_cases"] is None and figures["screenings"]["all"] == 1  # of the empty repository of tides
    assert figures["cases"] == [] and figures["rules"] == [] and figures["waiting"]["open"] == 0
    open_case(secret)
    figures = read_figures("30", NOW)
    assert figures["hidden_cases"] == 5 and figures["cases"] == [] and figures["waiting"]["open"] == 0


def test_releases_are_counted_once_each(alice: Person) -> None:
    model = make_repo("model", "tide-assistant", alice.user)
    at = NOW - timedelta(days=3)
    release = Release.objects.create(repo=model, version="1.0.0", commit="0" * 40, digest="d")
    with lifted():  # from publishing it
        Release.objects.filter(pk=release.pk).update(state="quarantined", published_at=at)
        for state in ("quarantined", "yanked", "quarantined"):
            ReleaseChange.objects.create(release=release, state=state, at=at)
    log("release.refused", at)
    log("release.refused", NOW - timedelta(days=40))
    counts = {"published": 1, "refused": 1, "yanked": 1, "quarantined": 1}
    assert read_figures("30", NOW)["releases"] == counts
    assert read_figures("all", NOW)["releases"] == {**counts, "refused": 2}


def test_the_figures_cost_the_same_however_much_was_decided(tides: Any, django_assert_num_queries: Any) -> None:
    for count in (1, 6):
        for _ in range(count):
            stop(tides, "aws-key", "refused")
        # cases, log, findings, screenings, changes of releases, published, refused
        with django_assert_num_queries(7):
            read_figures("all", NOW)


def test_everybody_reads_the_page_and_the_same_numbers_as_json(tides: Any, client: Client) -> None:
    for state in ("refused", "refused", "refused", "refused", "allowed"):
        stop(tides, "aws-key", state, opened_at=timezone.now() - HOUR)
    stop(tides, "iban", "allowed", opened_at=timezone.now() - HOUR)
    text = words(client.get(PAGE, {"days": "30"}))
    told = client.get(DOOR, {"days": "30"}).json()
    assert "Flagged outputs 6 0 2 4 0 0" in text and told["cases"][0]["opened"] == 6
    assert "4 5 80% 37.6% to 96.4%" in text and told["rules"][0]["rate"] == 0.8
    assert "0 1 too few to say" in text and told["rules"][1]["rate"] is None
    assert "No decision was appealed" in text and told["appeals"]["appealed"] == 0
    assert set(told) == set(read_figures("30", NOW))


def test_a_hub_that_judged_nothing_says_so(client: Client, db: None) -> None:
    for period in PERIODS:
        assert "Nothing was screened, reported or decided" in words(client.get(PAGE, {"days": period}))


def test_what_only_concerns_private_repositories_is_told_as_that_there_is_some(secret: Any, client: Client) -> None:
    open_case(secret)
    text = words(client.get(PAGE, {"days": "all"}))
    assert "Fewer than 5 more concern repositories that strangers do not see" in text and "No case is open" in text


def test_another_period_is_refused_with_those_that_there_are(client: Client, db: None) -> None:
    for address in (PAGE, DOOR):
        answer = client.get(address, {"days": "7"})
        assert answer.status_code == 400 and b"30, 90, 365, all" in answer.content
