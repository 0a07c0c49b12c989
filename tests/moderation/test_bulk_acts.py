"""One act on several cases: each by its own rules, what cannot be done in a sentence, and nothing twice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, transaction
from django.test import Client

from hub.accounts.tokens import create_token
from hub.community.models import Notification
from hub.repos.models import Content, Repo
from hub.storage.errors import StorageError
from moderation.cases import bulk_acts
from moderation.cases.deadlines import claim
from moderation.cases.queue import decide_case
from moderation.cases.reports import open_report
from moderation.cases.voices import recuse
from moderation.models import AuditEntry, Case
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import SECRET, Workshop, bring, make_repo, reader
from tests.moderation.test_output_screening import spoil
from tests.people import Person, make_person

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/moderation/selected"
Act = Callable[..., tuple[int, Any]]


@pytest.fixture
def nora(db: None) -> Person:
    return make_person("nora", is_moderator=True)


@pytest.fixture
def tides(alice: Person, mona: Person) -> Repo:
    return make_repo("dataset", "tides", alice.user)


@pytest.fixture
def reports(tides: Repo, charlie: Person) -> list[Case]:
    return [open_report(repo=tides, by=charlie.user, text=f"Line {number} is wrong.") for number in range(3)]


@pytest.fixture
def act() -> Act:
    """`act(mona, [1, 2], act="claim")` -> (status, JSON)."""

    def call(by: Person | None, cases: Any, **given: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {by.token}"} if by else {}
        body = json.dumps({"cases": [case.pk if isinstance(case, Case) else case for case in cases], **given})
        answer = Client().post("/api/v1/moderation/cases/act", body, "application/json", headers=headers)
        return answer.status_code, json.loads(answer.content)

    return call


def again(case: Case) -> Case:
    return Case.objects.get(pk=case.pk)


# --- what is done


def test_each_case_gets_its_own_decision_entry_and_message(
    reports: list[Case], charlie: Person, mona: Person, act: Act
) -> None:
    status, told = act(mona, reports, act="dismiss", reason="The tables are right.", clause="secrets")
    assert status == 200 and (told["done"], told["not_done"]) == (3, 0)
    assert [row["id"] for row in told["results"]] == [case.pk for case in reports]
    assert {row["sentence"] for row in told["results"]} == {"Closed: nothing is wrong."}
    for case in map(again, reports):
        assert (case.state, case.decided_by, case.decision_reason) == ("refused", mona.user, "The tables are right.")
        assert case.subject["clause"] == "secrets"
        assert AuditEntry.objects.filter(action="case.refused", data__case=case.pk).count() == 1
        said = Notification.objects.get(user=charlie.user, path=f"/moderation/cases/{case.pk}")
        assert case.title in said.text and "The tables are right." in said.text


def test_sent_again_it_has_the_same_result_and_does_nothing_twice(reports: list[Case], mona: Person, act: Act) -> None:
    given = {"act": "decide", "state": "resolved", "reason": "The table is mended."}
    first = act(mona, reports, **given)
    counts = AuditEntry.objects.count(), Notification.objects.count()
    assert act(mona, reports, **given) == first and first[1]["done"] == 3
    assert (AuditEntry.objects.count(), Notification.objects.count()) == counts
    status, other = act(mona, reports, **{**given, "reason": "For another reason."})
    assert other["done"] == 0 and {row["status"] for row in other["results"]} == {409}
    assert other["results"][0]["sentence"] == "This case is resolved already."


def test_files_of_one_repository_become_public_together(alice: Person, mona: Person, act: Act) -> None:
    repo = make_repo("dataset", "manual", alice.user)
    bring(repo, alice.user, {f"{name}.txt": f"{name}: {SECRET}".encode() for name in ("one", "two")})
    status, told = act(mona, list(Case.objects.all()), act="decide", state="allowed", reason="From a manual.")
    assert (status, told["done"]) == (200, 2)
    who = reader(repo)
    assert SECRET in who.read_text(who.resolve("main"), "one.txt") + who.read_text(who.resolve("main"), "two.txt")
    assert not Content.objects.filter(repo=repo).exclude(clearance="cleared").exists()


def test_several_are_claimed(reports: list[Case], mona: Person, act: Act) -> None:
    status, told = act(mona, reports, act="claim")
    assert (status, told["done"]) == (200, 3) and told["results"][0]["sentence"].startswith("Yours until ")
    assert {case.claimed_by for case in map(again, reports)} == {mona.user}
    assert act(mona, reports, act="claim")[1]["done"] == 3


# --- what cannot be done


def test_what_cannot_be_done_is_told_for_each_and_the_rest_is_done(
    reports: list[Case], tides: Repo, alice: Person, bob: Person, mona: Person, nora: Person, act: Act
) -> None:
    own = open_report(repo=tides, by=mona.user, text="I say so.")
    claimed, left, decided = reports
    claim(case=claimed, by=nora.user)
    recuse(case=left, by=mona.user, reason="Charlie is my cousin.")
    decide_case(case=decided, by=nora.user, state="resolved", reason="Mended.")
    bring(tides, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    held = Case.objects.get(kind="content")
    deleted = open_report(repo=make_repo("dataset", "gone", bob.user), by=alice.user, text="Wrong.")
    Repo.objects.filter(pk=deleted.repo_id).update(deleted_at=deleted.opened_at)
    good = open_report(repo=tides, by=bob.user, text="Wrong, too.")
    asked = [own, claimed, left, decided, held, deleted, 10**15, good]
    expected = [
        (403, "You opened this case; another moderator has to decide it."),
        (409, f"nora looks at it until {again(claimed).claimed_until:%H:%M} UTC."),
        (403, "You stepped back from this case; another moderator decides it."),
        (409, "This case is resolved already."),
        (400, "Only reports are dismissed; this is: held content. Decide it instead."),
        (404, f"There is no case {deleted.pk}, or it is not yours to see."),
        (404, f"There is no case {10**15}, or it is not yours to see."),
        (200, "Closed: nothing is wrong."),
    ]
    given = {"act": "dismiss", "reason": "It is right."}
    before = list(Case.objects.order_by("pk").values_list("state", "claimed_by"))
    status, looked = act(mona, asked, **given, dry_run=True)
    assert status == 200 and [(row["status"], row["sentence"]) for row in looked["results"]] == expected
    assert list(Case.objects.order_by("pk").values_list("state", "claimed_by")) == before
    status, told = act(mona, asked, **given)
    assert status == 200 and (told["done"], told["not_done"]) == (1, 7)
    assert [(row["status"], row["sentence"]) for row in told["results"]] == expected
    assert [row["state"] for row in told["results"]][4:] == ["open", None, None, "refused"]
    assert again(good).state == "refused" and AuditEntry.objects.filter(action="case.refused").count() == 1


def test_two_moderators_are_needed_for_each_that_needs_two(
    workshop: Workshop, mona: Person, nora: Person, tmp_path: Path, act: Act
) -> None:
    run = workshop.train(workshop.propose(), tmp_path / "model")
    workshop.evaluate(run)
    workshop.sample(run, spoil())
    flagged = Case.objects.get()
    given = {"act": "decide", "state": "allowed", "reason": "I read them all."}
    assert (
        act(mona, [flagged], **given, dry_run=True)[1]["results"][0]["sentence"] == "One more moderator has to agree."
    )
    for _ in range(2):
        status, told = act(mona, [flagged], **given)
        assert told["results"][0] | {"id": 0} == {
            "id": 0, "done": True, "status": 200, "sentence": "One more moderator has to agree.", "state": "open",
        }  # fmt: skip
    assert again(flagged).state == "open" and flagged.voices.count() == 1
    assert act(mona, [flagged], **given | {"reason": "I say it twice."})[1]["results"][0]["status"] == 403
    status, told = act(nora, [flagged], **given)
    assert told["results"][0]["sentence"] == "The check passes, and the proposal can be merged."
    assert again(flagged).state == "allowed" and flagged.voices.count() == 2
    workshop.teacher.is_moderator = True
    workshop.teacher.save()
    status, told = act(
        Person(workshop.teacher, create_token(user=workshop.teacher, name="own", role="write")[1]), [flagged], **given
    )
    assert told["done"] == 0


def test_one_that_breaks_keeps_no_other_from_being_done(
    reports: list[Case], mona: Person, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(*, case: Case, **given: Any) -> Case:
        if case.pk == reports[1].pk:
            raise DatabaseError("disk I/O error in /srv")
        return decide_case(case=case, **given)

    monkeypatch.setattr(bulk_acts, "decide_case", decide)
    status, told = act(mona, reports, act="dismiss", reason="No.")
    assert status == 200 and [row["done"] for row in told["results"]] == [True, False, True]
    assert told["results"][1]["status"] == 500 and "/srv" not in told["results"][1]["sentence"]
    assert again(reports[1]).state == "open"


def test_what_broke_after_it_was_written_is_told_as_it_is_and_found_done_the_next_time(
    reports: list[Case], mona: Person, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down() -> None:
        raise StorageError("No space left on /srv.")

    def decide(*, case: Case, **given: Any) -> Case:
        transaction.on_commit(break_down)
        return decide_case(case=case, **given)

    monkeypatch.setattr(bulk_acts, "decide_case", decide)
    given = {"act": "dismiss", "reason": "No."}
    status, told = act(mona, reports, **given)
    assert status == 200 and {(row["status"], row["state"]) for row in told["results"]} == {(500, "refused")}
    assert act(mona, reports, **given, dry_run=True)[1]["done"] == 3
    assert act(mona, reports, **given)[1]["done"] == 3
    assert AuditEntry.objects.filter(action="case.refused").count() == 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"act": "burn"}, "burn"),
        ({"act": "decide", "state": "sold", "reason": "So."}, "Say what is decided"),
        ({"act": "decide", "state": "resolved"}, "Give the reason in a sentence"),
        ({"act": "dismiss", "reason": " "}, "Give the reason in a sentence"),
        ({"act": "dismiss", "reason": "So.", "clause": "weather"}, "no clause 'weather'"),
        ({"act": "claim", "cases": []}, "Select at least one case."),
        ({"act": "claim", "cases": list(range(1, 102))}, "At most 100 cases at once, not 101"),
        ({"act": "claim", "cases": [2**70]}, "9223372036854775807"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_whole(
    reports: list[Case], mona: Person, act: Act, given: dict[str, Any], sentence: str
) -> None:
    status, refusal = act(mona, **{"cases": reports, **given})
    assert status == 400 and sentence in json.dumps(refusal)
    assert {case.state for case in map(again, reports)} == {"open"}


# --- who may


@pytest.mark.parametrize(
    ("who", "status"),
    [
        ("nobody", 401),
        ("stranger", 403),
        ("maintainer", 403),
        ("moderator", 200),
        ("read token", 403),
        ("far token", 403),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_moderators_alone_act_on_several(
    reports: list[Case], alice: Person, charlie: Person, mona: Person, act: Act, who: str, status: int, dry_run: bool
) -> None:
    read = create_token(user=mona.user, name="reads", role="read")[1]
    far = create_token(user=mona.user, name="far", role="fineGrained", scopes={"datasets/alice/tides": "write"})[1]
    people = {
        "nobody": None, "stranger": charlie, "maintainer": alice, "moderator": mona,
        "read token": Person(mona.user, read), "far token": Person(mona.user, far),
    }  # fmt: skip
    assert act(people[who], reports, act="dismiss", reason="No.", dry_run=dry_run)[0] == status
    is_done = status == 200 and not dry_run
    assert {case.state for case in map(again, reports)} == {"refused" if is_done else "open"}


# --- pages


def test_a_moderator_selects_looks_and_acts_without_a_script(
    reports: list[Case], mona: Person, nora: Person, browser_of: Browser
) -> None:
    browser = browser_of(mona)
    assert " checked>" not in browser.get("/moderation").content.decode()
    page = browser.get("/moderation?select=page").content.decode()
    assert page.count(" checked>") == 3 and f'action="{PAGE}"' in page and "Select none" in page
    claim(case=reports[0], by=nora.user)
    assert "with nora until" in words(browser.get("/moderation"))
    chosen = {"case": [case.pk for case in reports], "act": "resolved"}
    look = browser.get(PAGE, chosen)
    text = words(look)
    assert look.status_code == 200 and "Resolve 2 cases?" in text and "Cannot be done" in text
    assert "nora looks at it until" in text and "Closed: something was done." in text
    assert {case.state for case in map(again, reports)} == {"open"}
    unsaid = browser.post(PAGE, {**chosen, "reason": " ", "clause": ""})
    assert unsaid.status_code == 400 and "Give the reason" in words(unsaid) and "Resolve 2 cases?" in words(unsaid)
    done = browser.post(PAGE, {**chosen, "reason": "Mended.", "clause": ""})
    text = words(done)
    assert done.status_code == 200 and "Resolve: 2 done, 1 not" in text and "nora looks at it until" in text
    assert [again(case).state for case in reports] == ["open", "resolved", "resolved"]
    twice = browser.post(PAGE, {**chosen, "reason": "Mended.", "clause": ""})
    assert "Resolve: 2 done, 1 not" in words(twice) and AuditEntry.objects.filter(action="case.resolved").count() == 2


def test_claims_and_wrong_addresses_on_the_page(
    reports: list[Case], alice: Person, mona: Person, browser_of: Browser
) -> None:
    browser = browser_of(mona)
    chosen = {"case": [case.pk for case in reports], "act": "claim"}
    assert "Claim 3 cases?" in words(browser.get(PAGE, chosen))
    assert "Claim: 3 done" in words(browser.post(PAGE, chosen))
    assert {case.claimed_by for case in map(again, reports)} == {mona.user}
    for given, sentence in (
        ({"act": "claim"}, "Select at least one case."),
        ({"act": "burn", "case": [1]}, "Choose what to do"),
        ({"act": "claim", "case": ["x"]}, "A case is named by its number."),
        ({"act": "claim", "case": list(range(1, 102))}, "At most 100 cases at once"),
    ):
        answer = browser.get(PAGE, given)
        assert answer.status_code == 400 and sentence in words(answer)
    assert browser_of(None).get(PAGE, chosen).status_code == 302
    for method in ("get", "post"):
        assert getattr(browser_of(alice), method)(PAGE, chosen).status_code == 403
    assert "Nothing to do here" in words(browser.get(PAGE, {"case": [10**15], "act": "claim"}))


def test_the_way_back_leads_to_the_queue_as_it_was(reports: list[Case], mona: Person, browser_of: Browser) -> None:
    browser = browser_of(mona)
    queue = browser.get("/moderation?kind=report&q=Line").content.decode()
    assert 'name="back" value="state=open&amp;kind=report&amp;q=Line&amp;page=1"' in queue
    chosen = {"case": [reports[0].pk], "act": "claim", "back": "kind=report&q=Line&next=//elsewhere.example&page=1"}
    for answer in (browser.get(PAGE, chosen), browser.post(PAGE, chosen), browser.get(PAGE, {**chosen, "act": "burn"})):
        page = answer.content.decode()
        assert 'href="/moderation?kind=report&amp;q=Line&amp;page=1"' in page and 'href="//elsewhere' not in page


def test_who_does_not_moderate_has_nothing_to_select(reports: list[Case], charlie: Person, browser_of: Browser) -> None:
    page = browser_of(charlie).get("/moderation?select=page").content.decode()
    assert reports[0].title in page and PAGE not in page and "checkbox" not in page
