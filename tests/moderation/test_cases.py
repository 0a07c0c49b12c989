"""The moderator's queue: what is held comes before a person who has no stake in it, and what they say is carried out."""

from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound, RepoNotFound, RevisionNotFound
from hub.community.models import Notification
from hub.repos.lifecycle import delete_repo
from hub.repos.models import Content, RepoCollaborator
from hub.repos.purging import purge_files
from moderation import audit
from moderation.cases.appeals import appeal, may_appeal
from moderation.cases.conversation import say
from moderation.cases.queue import cases_for, decide_case, find_case
from moderation.cases.reports import open_report
from moderation.cases.withholding import judge_file
from moderation.models import AuditEntry, Case
from tests.hub.scenes import propose
from tests.moderation.scenes import ROWS, SECRET, bring, content_at, is_public_object, make_repo, reader, run_jobs
from tests.people import make_person

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(alice: Any, bob: Any, mona: Any) -> Case:
    """Alice's dataset, to which Bob may write, with a file that the screens withheld."""
    repo = make_repo("dataset", "tides", alice.user)
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    bring(repo, alice.user, {"notes.txt": f"example: {SECRET}".encode()})
    return Case.objects.get()


def test_a_moderator_allows_held_content_and_it_becomes_public(held: Case, alice: Any, mona: Any) -> None:
    assert not is_public_object(held.repo, held.content.digest.removeprefix("git:"))
    decide_case(case=held, by=mona.user, state="allowed", reason="A made-up key of a manual.", clause="secrets")
    held.refresh_from_db()
    assert (held.state, held.decided_by, held.subject["clause"]) == ("allowed", mona.user, "secrets")
    stranger = reader(held.repo)
    assert SECRET in stranger.read_text(stranger.resolve("main"), "notes.txt")
    told = Notification.objects.filter(user=alice.user).latest("pk")
    assert "is allowed" in told.text and told.path == f"/moderation/cases/{held.pk}"
    entry = AuditEntry.objects.get(action="case.allowed")
    assert entry.is_public and entry.actor == "mona" and entry.data["reason"] == "A made-up key of a manual."
    assert audit.verify() == ""


def test_refused_content_stays_withheld_with_the_moderators_reason(held: Case, alice: Any, mona: Any) -> None:
    decide_case(case=held, by=mona.user, state="refused", reason="This key works.")
    content = content_at(held.repo, "notes.txt")
    assert (content.clearance, content.reason) == (Content.Clearance.WITHHELD, "This key works.")
    assert not is_public_object(held.repo, content.digest.removeprefix("git:"))


def test_a_moderators_word_stands_above_the_full_screen(held: Case, mona: Any) -> None:
    decide_case(case=held, by=mona.user, state="allowed", reason="A made-up key of a manual.")
    run_jobs("moderation.screen_data")
    assert content_at(held.repo, "notes.txt").clearance == Content.Clearance.CLEARED
    assert Case.objects.filter(state="open").count() == 0


def test_a_decision_that_falls_while_the_screen_reads_stands_too(
    held: Case, mona: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moderation.screening import content_screening

    real = content_screening.screen_file

    def read_slowly(*arguments: Any, **options: Any) -> Any:
        if Case.objects.filter(pk=held.pk, state="open").exists():
            decide_case(case=held, by=mona.user, state="allowed", reason="A made-up key.")
        return real(*arguments, **options)

    monkeypatch.setattr(content_screening, "screen_file", read_slowly)
    run_jobs("moderation.screen_data")
    assert content_at(held.repo, "notes.txt").clearance == Content.Clearance.CLEARED


def test_nobody_decides_about_their_own_contribution(held: Case, alice: Any, mona: Any) -> None:
    alice.user.is_moderator = True
    alice.user.save()
    with pytest.raises(Forbidden, match="your own contribution"):
        decide_case(case=held, by=alice.user, state="allowed", reason="It is fine.")
    held.refresh_from_db()
    assert held.state == "open"


def test_the_only_person_of_a_hub_decides_and_the_log_says_that_nobody_else_could() -> None:
    only = make_person("only", is_moderator=True)
    repo = make_repo("dataset", "mine", only.user, {"notes.txt": SECRET.encode()})
    decide_case(case=Case.objects.get(), by=only.user, state="allowed", reason="A made-up key.")
    assert AuditEntry.objects.get(action="case.allowed").data["alone"] is True
    assert SECRET in reader(repo).read_text(reader(repo).resolve("main"), "notes.txt")


@pytest.mark.parametrize(
    ("state", "reason", "clause", "refusal"),
    [
        ("resolved", "Fine.", "", "allowed or refused"),
        ("allowed", "  ", "", "Give the reason"),
        ("allowed", "Fine.", "weather", "no clause 'weather'"),
    ],
)
def test_a_decision_names_what_reason_and_clause(
    held: Case, mona: Any, state: str, reason: str, clause: str, refusal: str
) -> None:
    with pytest.raises(InvalidInput, match=refusal):
        decide_case(case=held, by=mona.user, state=state, reason=reason, clause=clause)


def test_only_moderators_decide_and_only_once(held: Case, bob: Any, mona: Any) -> None:
    with pytest.raises(Forbidden):
        decide_case(case=held, by=bob.user, state="allowed", reason="It is fine.")
    decide_case(case=held, by=mona.user, state="allowed", reason="Fine.")
    with pytest.raises(Conflict, match="allowed already"):
        decide_case(case=held, by=mona.user, state="refused", reason="On second thoughts.")


def test_a_case_is_seen_by_its_people_maintainers_and_moderators_only(
    held: Case, alice: Any, bob: Any, charlie: Any, mona: Any
) -> None:
    for person in (alice, bob, mona):
        assert find_case(held.pk, person.user) == held
    from django.contrib.auth.models import AnonymousUser

    for user in (charlie.user, AnonymousUser()):
        with pytest.raises(NotFound):
            find_case(held.pk, user)
    with pytest.raises(Forbidden):
        cases_for(bob.user)
    assert list(cases_for(mona.user)) == [held]


def test_the_severest_and_oldest_case_comes_first(held: Case, charlie: Any, mona: Any) -> None:
    report = open_report(repo=held.repo, by=charlie.user, text="The licence is wrong.")
    again = open_report(repo=held.repo, by=charlie.user, text="The card is rude.")
    assert list(cases_for(mona.user)) == [held, report, again]


def test_many_files_of_one_commit_are_told_once(alice: Any, mona: Any) -> None:
    repo = make_repo("dataset", "tides", alice.user)
    bring(repo, alice.user, {f"{name}.txt": f"{name} {SECRET}".encode() for name in "abc"})
    assert Case.objects.count() == 3
    assert [row.user for row in Notification.objects.order_by("user_id")] == [alice.user, mona.user]
    assert "(and 2 more)" in Notification.objects.first().text


def test_a_held_file_of_a_proposal_is_told_as_of_the_proposal(alice: Any, bob: Any, mona: Any) -> None:
    repo = make_repo("dataset", "tides", alice.user)
    bring(repo, alice.user, {"a.txt": b"The tide comes."})
    pull_request = propose(repo, bob.user, {"b.txt": SECRET.encode()}, title="One more tide")
    texts = {row.user: row.text for row in Notification.objects.filter(text__contains="b.txt")}
    assert texts[bob.user].startswith(
        f"{pull_request}: One more tide is not public in full: An AWS access key stands in b.txt"
    )
    assert texts[mona.user].startswith(f"To decide in {pull_request}: One more tide: ")


def test_what_is_decided_waits_for_nobody_any_more(held: Case, alice: Any, bob: Any, mona: Any, dora: Any) -> None:
    """A desk kept listing cases that another moderator had decided, or that a purge had settled."""
    unread = Notification.objects.filter(is_read=False)
    dora.user.is_moderator = True
    dora.user.save()
    bring(held.repo, alice.user, {f"{name}.txt": f"{name} {SECRET}".encode() for name in "ab"})
    several = f"/moderation?repo={held.repo_id}"
    assert {row.path for row in unread.filter(user=dora.user)} == {several}
    decide_case(case=held, by=mona.user, state="refused", reason="A key.")
    assert not unread.filter(path=f"/moderation/cases/{held.pk}", text__startswith="To decide").exists()
    assert unread.get(user=alice.user, path=f"/moderation/cases/{held.pk}").text.startswith("A moderator decided")
    assert unread.filter(user=dora.user, path=several).exists()  # two still wait
    purge_files(repo=held.repo, by=alice.user, paths=["a.txt"])
    assert unread.filter(user=dora.user, path=several).exists()
    purge_files(repo=held.repo, by=alice.user, paths=["b.txt"])
    assert not Case.objects.filter(state="open").exists()
    assert not unread.filter(user__in=[dora.user, mona.user]).exists()
    assert not unread.filter(text__contains="is not public in full").exists()
    delete_repo(repo=held.repo, by=alice.user)
    assert not unread.filter(user=alice.user).exists()


# --- reports


def test_a_report_of_an_answer_carries_prompt_settings_and_release(
    held: Case, bob: Any, charlie: Any, mona: Any
) -> None:
    subject = {
        "prompt": "When is high tide?",
        "answer": "Never.",
        "settings": {"temperature": 0.7, "seed": 3},
        "release": "v1.0.0",
        "somebody": "else's key",
    }
    case = open_report(repo=held.repo, by=charlie.user, text="This is wrong.\nIt is at noon.", subject=subject)
    assert case.kind == Case.Kind.REPORT and case.title == "This is wrong. It is at noon."
    assert case.subject == {
        "prompt": "When is high tide?",
        "answer": "Never.",
        "settings": {"temperature": 0.7, "seed": 3},
        "release": "v1.0.0",
        "text": "This is wrong.\nIt is at noon.",
    }
    for person in (charlie, bob, mona):
        assert find_case(case.pk, person.user) == case
    dora = make_person("dora")
    with pytest.raises(NotFound):
        find_case(case.pk, dora.user)
    assert not AuditEntry.objects.get(action="report.opened").is_public
    assert Notification.objects.filter(user=mona.user, text__startswith="Report on").exists()
    assert not Notification.objects.filter(user=charlie.user).exists()


def test_a_report_is_resolved_by_somebody_without_a_stake(held: Case, bob: Any, charlie: Any, mona: Any) -> None:
    case = open_report(repo=held.repo, by=charlie.user, text="This is wrong.")
    bob.user.is_moderator = True
    bob.user.save()
    with pytest.raises(Forbidden, match="You maintain"):
        decide_case(case=case, by=bob.user, state="resolved", reason="Nothing to see.")
    own = open_report(repo=held.repo, by=mona.user, text="This is wrong too.")
    with pytest.raises(Forbidden, match="You opened this case"):
        decide_case(case=own, by=mona.user, state="resolved", reason="I am right.")
    decide_case(case=case, by=mona.user, state="resolved", reason="The card says so now.")
    told = Notification.objects.filter(user=charlie.user).latest("pk")
    assert "The card says so now." in told.text
    assert not AuditEntry.objects.get(action="case.resolved").is_public


def test_a_stranger_cannot_report_what_they_cannot_read(alice: Any, charlie: Any) -> None:
    mine = make_repo("dataset", "mine", alice.user, {"a.jsonl": ROWS}, is_private=True)
    with pytest.raises(RepoNotFound):
        open_report(repo=mine, by=charlie.user, text="Let me in.")
    with pytest.raises(InvalidInput, match="Say in a sentence"):
        open_report(repo=mine, by=alice.user, text=" \n")
    with pytest.raises(InvalidInput, match="at most 20,000"):
        open_report(repo=mine, by=alice.user, text="a" * 20_001)
    with pytest.raises(InvalidInput, match="shorten it"):
        open_report(repo=mine, by=alice.user, text="Long.", subject={"answer": "a" * 100_001})
    assert not Case.objects.exists()


def test_one_person_does_not_flood_the_queue(held: Case, charlie: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.cases import reports

    monkeypatch.setattr(reports, "MAX_REPORTS_A_DAY", 2)
    for number in range(2):
        open_report(repo=held.repo, by=charlie.user, text=f"Wrong {number}.")
    with pytest.raises(Forbidden, match="go on tomorrow"):
        open_report(repo=held.repo, by=charlie.user, text="Wrong again.")


def test_the_same_report_sent_twice_is_one_case(held: Case, charlie: Any, dora: Any, mona: Any) -> None:
    said = {"text": "Wrong.", "subject": {"prompt": "How deep?", "answer": "Nine."}}
    first = open_report(repo=held.repo, by=charlie.user, **said)
    assert open_report(repo=held.repo, by=charlie.user, **said) == first
    say(case=first, by=charlie.user, text="At the pier, that is.")
    assert open_report(repo=held.repo, by=charlie.user, **said) == first
    assert open_report(repo=held.repo, by=dora.user, **said) != first
    other = {"text": "Wrong.", "subject": {"prompt": "How deep?", "answer": "Ten."}}
    assert open_report(repo=held.repo, by=charlie.user, **other) != first
    decide_case(case=first, by=mona.user, state="resolved", reason="It was corrected.")
    assert open_report(repo=held.repo, by=charlie.user, **said) != first  # it came back


# --- appeals


def test_whom_a_refusal_concerns_asks_for_another_look_by_another_moderator(
    held: Case, alice: Any, charlie: Any, mona: Any
) -> None:
    nora = make_person("nora", is_moderator=True)
    decide_case(case=held, by=mona.user, state="refused", reason="It looks real.")
    held.refresh_from_db()
    assert may_appeal(held, alice.user) and not may_appeal(held, charlie.user)
    again = appeal(case=held, by=alice.user, text="It is the example of the manual.")
    assert again.subject["appeal_of"] == held.pk and not may_appeal(held, alice.user)
    with pytest.raises(Forbidden):
        appeal(case=held, by=alice.user, text="Once more.")
    with pytest.raises(Forbidden, match="decided this before"):
        decide_case(case=again, by=mona.user, state="allowed", reason="So be it.")
    decide_case(case=again, by=nora.user, state="allowed", reason="The manual shows the same key.")
    assert SECRET in reader(held.repo).read_text(reader(held.repo).resolve("main"), "notes.txt")
    actions = list(AuditEntry.objects.order_by("number").values_list("action", flat=True))
    assert actions[-3:] == ["case.refused", "case.appealed", "case.allowed"]


@pytest.fixture
def reported(alice: Any, bob: Any, charlie: Any, mona: Any) -> Case:
    """Charlie says that a public file of Alice's names people; no screen had found it."""
    repo = make_repo("dataset", "letters", alice.user, {"train.jsonl": ROWS, "people.txt": b"Erna of 12 Quay Road"})
    RepoCollaborator.objects.create(repo=repo, user=bob.user, role="write")
    return open_report(repo=repo, by=charlie.user, text="people.txt names my aunt.", subject={"path": "people.txt"})


def test_a_moderator_withholds_a_reported_file_and_shows_it_again(reported: Case, alice: Any, mona: Any) -> None:
    """A justified report on public data had no button: nobody but the screens could take a file back."""
    before = reader(reported.repo).resolve("main")
    own = judge_file(case=reported, by=mona.user, act="withhold", reason="It names a person.", clause="personal-data")
    content = content_at(reported.repo, "people.txt")
    assert (content.clearance, content.reason) == (Content.Clearance.WITHHELD, "It names a person.")
    with pytest.raises(RevisionNotFound):
        reader(reported.repo).resolve(before)
    assert not is_public_object(reported.repo, content.digest.removeprefix("git:"))
    assert (own.state, own.content, own.subject["follows"]) == ("refused", content, reported.pk)
    told = Notification.objects.filter(user=alice.user).latest("pk")
    assert "It names a person." in told.text and told.path == f"/moderation/cases/{own.pk}"
    entry = AuditEntry.objects.get(action="case.refused")
    assert entry.is_public and entry.actor == "mona" and may_appeal(own, alice.user)
    run_jobs("moderation.screen_data")
    assert content_at(reported.repo, "people.txt").clearance == Content.Clearance.WITHHELD
    with pytest.raises(Conflict, match="withheld already"):
        judge_file(case=reported, by=mona.user, act="withhold", reason="Again.")
    judge_file(case=own, by=mona.user, act="restore", reason="She is made up.")
    assert reader(reported.repo).resolve(before) == before


def test_only_a_moderator_without_a_stake_withholds_a_file(reported: Case, alice: Any, bob: Any, charlie: Any) -> None:
    for person in (alice, bob, charlie):
        with pytest.raises(Forbidden):
            judge_file(case=reported, by=person.user, act="withhold", reason="No.")
    bob.user.is_moderator = True
    with pytest.raises(Forbidden, match="You maintain alice/letters"):
        judge_file(case=reported, by=bob.user, act="withhold", reason="No.")
    assert content_at(reported.repo, "people.txt").clearance == Content.Clearance.CLEARED


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"path": "aunts.txt"}, NotFound, "no file 'aunts.txt' in alice/letters"),
        ({"act": "burn"}, InvalidInput, "send withhold or restore"),
        ({"reason": " "}, InvalidInput, "Give the reason"),
        ({"act": "restore"}, Conflict, "cleared already"),
    ],
)
def test_what_cannot_be_done_with_a_file_is_refused_in_words(
    reported: Case, mona: Any, given: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        judge_file(**{"case": reported, "by": mona.user, "act": "withhold", "reason": "It names a person."} | given)
    assert Case.objects.count() == 1
