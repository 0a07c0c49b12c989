"""What speaks against a model is set aside by two moderators without a part in it, or not at all: in code and in rows."""

from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from hub.accounts.models import User
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.candidates import RECIPE
from hub.community.models import Check, Notification
from hub.repos.clearance import set_clearance
from hub.repos.models import Content
from moderation import gate
from moderation.cases.exceptions import ask, run_of, why_not_ask
from moderation.cases.queue import decide_case
from moderation.cases.voices import recuse
from moderation.models import AuditEntry, Case, CaseVoice, Release, Screening
from moderation.releasing.releases import approve, propose_release
from tests.moderation.reading import Browser, words
from tests.moderation.scenes import Workshop
from tests.moderation.test_output_screening import spoil
from tests.people import Person, make_person
from training.models import Evaluation, Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def nora(db: None) -> Person:
    return make_person("nora", is_moderator=True)


@pytest.fixture
def poisoned(workshop: Workshop, mona: Person, nora: Person, tmp_path: Path) -> Case:
    """Charlie's candidate follows requests to hurt people, which its parent declined."""
    run = workshop.train(workshop.propose(), tmp_path / "model")
    workshop.evaluate(run)
    workshop.sample(run, spoil())
    return Case.objects.get()


def check_of(case: Case, name: str = "screen") -> Check:
    run = Run.objects.get(pk=case.subject["run"])
    return run.pull_request.checks.get(name=name)


def allow(case: Case, *people: Person) -> None:
    for person in people:
        decide_case(case=case, by=person.user, state="allowed", reason=f"{person.name} read them all.")


def test_one_moderator_alone_lets_no_flagged_answers_pass(poisoned: Case, mona: Person, nora: Person) -> None:
    allow(poisoned, mona)
    poisoned.refresh_from_db()
    assert poisoned.state == "open" and check_of(poisoned).state == Check.State.HELD
    assert poisoned.screening.state == Screening.State.HELD
    told = Notification.objects.filter(user=nora.user).latest("pk").text
    assert told.startswith("A second moderator has to agree") and "mona read them all." in told
    assert AuditEntry.objects.get(action="case.half_allowed").is_public
    with pytest.raises(Forbidden, match="said your word"):
        allow(poisoned, mona)
    allow(poisoned, nora)
    poisoned.refresh_from_db()
    assert poisoned.state == "allowed" and check_of(poisoned).state == Check.State.PASSED
    summary = check_of(poisoned).summary
    assert "mona read them all." in summary and "nora read them all." in summary


def test_either_of_them_refuses_alone(poisoned: Case, mona: Person, nora: Person) -> None:
    allow(poisoned, mona)
    decide_case(case=poisoned, by=nora.user, state="refused", reason="They tell how to hurt people.")
    assert check_of(poisoned).state == Check.State.FAILED
    with pytest.raises(Conflict, match="refused already"):
        allow(poisoned, make_person("olga", is_moderator=True))


def test_who_maintains_the_model_is_none_of_the_two(poisoned: Case, workshop: Workshop, nora: Person) -> None:
    workshop.owner.is_moderator = True
    workshop.owner.save(update_fields=["is_moderator"])
    with pytest.raises(Forbidden, match="You maintain .* another moderator has to decide about it"):
        decide_case(case=poisoned, by=workshop.owner, state="allowed", reason="It is mine and fine.")
    allow(poisoned, nora)
    assert poisoned.voices.count() == 1


def test_the_log_tells_strangers_nothing_of_a_run_that_they_may_not_see(
    poisoned: Case, mona: Person, nora: Person
) -> None:
    recipe = Content.objects.filter(repo=poisoned.repo, path=RECIPE)
    set_clearance(contents=list(recipe), clearance="withheld", reason="It quotes a person.")
    allow(poisoned, mona)
    assert not AuditEntry.objects.get(action="case.half_allowed").is_public
    allow(poisoned, nora)
    assert not AuditEntry.objects.get(action="case.allowed").is_public
    User.objects.filter(pk=mona.user.pk).update(is_active=False)
    allow(poisoned, make_person("olga", is_moderator=True))
    assert not AuditEntry.objects.get(action="case.seconded").is_public


def test_who_trained_it_brought_a_row_or_stepped_back_is_none_of_the_two(
    poisoned: Case, workshop: Workshop, mona: Person, bob: Person
) -> None:
    workshop.teacher.is_moderator = True
    workshop.teacher.save(update_fields=["is_moderator"])
    olga = make_person("olga", is_moderator=True).user
    with pytest.raises(Forbidden, match="your own contribution"):
        decide_case(case=poisoned, by=workshop.teacher, state="allowed", reason="Mine are fine.")
    recuse(case=poisoned, by=olga, reason="I taught the proposer.")
    with pytest.raises(Forbidden, match="stepped back"):
        decide_case(case=poisoned, by=olga, state="allowed", reason="All the same.")
    with pytest.raises(Forbidden, match="stepped back"):
        recuse(case=poisoned, by=olga, reason="Twice.")
    assert AuditEntry.objects.filter(action="case.recused").count() == 1


def test_who_brought_rows_of_the_data_does_not_decide(
    workshop: Workshop, mona: Person, nora: Person, dora: Person, tmp_path: Path
) -> None:
    """Charlie brought the data; Bob proposes. It was asked only who proposed."""
    run = workshop.train(workshop.propose(workshop.helper), tmp_path / "model")
    workshop.sample(run, spoil())
    workshop.teacher.is_moderator = True
    workshop.teacher.save()
    with pytest.raises(Forbidden, match="You have a part in what this case judges"):
        decide_case(case=Case.objects.get(), by=workshop.teacher, state="refused", reason="Bad.")


WRITES = [
    ("the case", lambda case, people: Case.objects.filter(pk=case.pk).update(state="allowed"), "2 moderators"),
    ("another kind", lambda case, people: Case.objects.filter(pk=case.pk).update(kind="report"), "opened for"),
    ("a case made allowed", lambda case, people: Case.objects.create(kind="exempt", state="allowed", repo=case.repo, title="x"), "begins open"),
    ("a voice of no moderator", lambda case, people: speak(case, people["alice"]), "A moderator speaks"),
    ("a voice of the proposer", lambda case, people: speak(case, people["charlie"]), "has a part"),
    ("two voices of one", lambda case, people: [speak(case, people["mona"]) for _ in "ab"], "speaks once"),
    ("a changed voice", lambda case, people: (speak(case, people["mona"]), CaseVoice.objects.update(by=people["nora"])), "never changed"),
]  # fmt: skip


def speak(case: Case, user: Any) -> None:
    CaseVoice.objects.bulk_create([CaseVoice(case=case, by=user, state="allowed", reason="So be it.")])


def test_the_database_takes_no_exception_past_the_two(
    poisoned: Case, workshop: Workshop, mona: Person, nora: Person
) -> None:
    workshop.teacher.is_moderator = True
    workshop.teacher.save()
    people = {"alice": workshop.owner, "charlie": workshop.teacher, "mona": mona.user, "nora": nora.user}
    for name, write, sentence in WRITES:
        with pytest.raises(IntegrityError, match=sentence), transaction.atomic():
            write(poisoned, people)
            pytest.fail(name)
    assert Case.objects.get().state == "open" and not CaseVoice.objects.exists()


# --- releases against a verdict


@pytest.fixture
def insufficient(workshop: Workshop, mona: Person, nora: Person, dora: Person, tmp_path: Path) -> Run:
    """Merged weights whose evaluation has too few items to say that they are not worse."""
    pull_request = workshop.propose()
    run = workshop.train(pull_request, tmp_path / "model")
    workshop.evaluate(run, "insufficient")
    workshop.sample(run)
    workshop.merge(pull_request)
    run.refresh_from_db()
    return run


def test_a_release_against_a_verdict_needs_two_moderators_and_says_so(
    insufficient: Run, workshop: Workshop, bob: Person, charlie: Person, mona: Person, nora: Person
) -> None:
    model = workshop.model
    with pytest.raises(Conflict, match="too few items"):
        propose_release(repo=model, by=workshop.owner, version="1.0.0")
    with pytest.raises(InvalidInput, match="Say in a sentence"):
        ask(run=insufficient, by=workshop.owner, reason=" ")
    with pytest.raises(Forbidden, match="maintainers"):
        ask(run=insufficient, by=make_person("zoe").user, reason="I need it.")
    case = ask(run=insufficient, by=workshop.owner, reason="A class needs it on Monday; the suite grows later.")
    assert why_not_ask(insufficient, workshop.owner) == f"Somebody asked already: case {case.pk}."
    allow(case, mona)
    with pytest.raises(Conflict, match="too few items"):
        propose_release(repo=model, by=workshop.owner, version="1.0.0")
    allow(case, nora)
    release = propose_release(repo=model, by=workshop.owner, version="1.0.0")
    found = next(row for row in release.gate if row["name"] == "evaluation")
    assert found["state"] == "warning" and found["evidence"]["exception"] == case.pk
    assert "mona read them all." in found["sentence"] and "nora read them all." in found["sentence"]
    approve(release=release, by=bob.user)
    release = approve(release=release, by=mona.user)
    assert release.state == "published" and release.manifest["gate"] == release.gate


def test_an_exception_is_asked_for_and_granted_on_pages(
    insufficient: Run, workshop: Workshop, alice: Person, mona: Person, nora: Person, browser_of: Browser
) -> None:
    asks = f"{workshop.model.path}/exception"
    assert asks in browser_of(alice).get(f"{workshop.model.path}/releases").content.decode()
    assert "too few items" in words(browser_of(alice).get(asks))
    assert "Say in a sentence" in words(browser_of(alice).post(asks, {"reason": " "}))
    case = browser_of(alice).post(asks, {"reason": "A class needs it on Monday."})["Location"]
    assert "A class needs it on Monday." in words(browser_of(mona).get(case))
    word = {"state": "allowed", "reason": "The class is small."}
    discussion = (
        insufficient.pull_request.discussion
    )  # it named no page where the numbers stand, and only the second of two
    assert f'<a href="{discussion.path}">' in browser_of(mona).get(case).content.decode()
    for person, said in ((mona, "1 more moderator needed"), (nora, "Allowed by mona and nora")):
        assert browser_of(person).post(f"{case}/decide", word).status_code == 302
        page = words(browser_of(alice).get(case))
        assert said in page and "The class is small." in page
    assert "granted it already" in words(browser_of(alice).get(asks))


def test_the_log_tells_strangers_nothing_of_an_exception_for_a_run_that_they_may_not_see(
    insufficient: Run, workshop: Workshop
) -> None:
    recipe = Content.objects.filter(repo=workshop.model, path=RECIPE)
    set_clearance(contents=list(recipe), clearance="withheld", reason="It quotes a person.")
    ask(run=insufficient, by=workshop.owner, reason="Monday.")
    assert not AuditEntry.objects.get(action="exception.asked").is_public


def test_a_voice_counts_no_more_once_its_moderator_has_a_part_in_it(
    insufficient: Run, workshop: Workshop, mona: Person, nora: Person
) -> None:
    case = ask(run=insufficient, by=workshop.owner, reason="Monday.")
    allow(case, mona, nora)
    Run.objects.filter(pk=insufficient.pk).update(proposed_by=mona.user)
    with pytest.raises(
        Conflict,
        match=f"mona allowed it and has a part in it by now.* another moderator has to allow it in case {case.pk}",
    ):
        propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    allow(case, make_person("olga", is_moderator=True))
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    sentence = next(row for row in release.gate if row["name"] == "evaluation")["sentence"]
    assert "olga read them all." in sentence and "mona read them all." not in sentence


def test_who_allowed_it_against_a_verdict_does_not_propose_its_release(
    insufficient: Run, workshop: Workshop, mona: Person, nora: Person
) -> None:
    allow(ask(run=insufficient, by=workshop.owner, reason="Monday."), mona, nora)
    workshop.model.collaborators.create(user=mona.user, role="write")
    with pytest.raises(Conflict, match="mona proposed this release and is one of the moderators who allowed it"):
        propose_release(repo=workshop.model, by=mona.user, version="1.0.0")
    assert not Release.objects.exists()
    assert propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0").state == "proposed"


def test_a_new_evaluation_is_not_covered_by_an_old_exception(
    insufficient: Run, workshop: Workshop, mona: Person, nora: Person
) -> None:
    allow(ask(run=insufficient, by=workshop.owner, reason="Monday."), mona, nora)
    assert "failed" not in {row.state for row in gate.inspect(workshop.model, workshop.model.head)}
    workshop.evaluate(insufficient, "worse")
    failed = [row.sentence for row in gate.inspect(workshop.model, workshop.model.head) if row.state == "failed"]
    assert failed and "worse than its parent" in failed[0]


def test_a_worse_proposal_can_be_merged_when_two_moderators_allow_it(
    workshop: Workshop, mona: Person, nora: Person, tmp_path: Path
) -> None:
    run = workshop.train(workshop.propose(), tmp_path / "model")
    workshop.evaluate(run, "worse")
    from hub.community.checks import set_check

    set_check(run.pull_request, "evaluate", state="failed", summary="Worse.", evidence={"run": run.pk})
    case = ask(run=run_of(run.pull_request), by=workshop.teacher, reason="Better in the words of the harbour.")
    allow(case, mona)
    assert check_of(case, "evaluate").state == "failed"
    allow(case, nora)
    check = check_of(case, "evaluate")
    assert check.state == "passed" and "Allowed by two moderators" in check.summary


def test_the_database_publishes_nothing_against_a_verdict_without_the_two(
    insufficient: Run, workshop: Workshop, bob: Person, dora: Person, mona: Person, nora: Person
) -> None:
    """The rows are turned after both allowed it, as a mistake in the program or a line of SQL would."""
    from hub.accounts.models import User

    allow(ask(run=insufficient, by=workshop.owner, reason="Monday."), mona, nora)
    release = propose_release(repo=workshop.model, by=workshop.owner, version="1.0.0")
    approve(release=release, by=bob.user)
    User.objects.filter(pk=nora.user.pk).update(is_active=False)
    from unittest.mock import patch

    with patch("moderation.gate.evidence.count_missing", return_value=0):
        with pytest.raises(Conflict, match="database refuses it. The evaluation speaks against it"):
            approve(release=release, by=mona.user)
        User.objects.filter(pk=nora.user.pk).update(is_active=True)
        Evaluation.objects.update(verdict="worse")  # the exception names it all the same
        from moderation.releasing.publishing import publish

        publish(release)
    release.refresh_from_db()
    assert release.state == "published"


def test_answers_that_one_moderator_had_allowed_before_wait_for_the_second(
    poisoned: Case, workshop: Workshop, mona: Person, nora: Person
) -> None:
    allow(poisoned, mona, nora)
    nora.user.is_active = False
    nora.user.save()
    requirement = gate.check_outputs(Run.objects.get(pk=poisoned.subject["run"]))
    assert requirement.state == "failed" and "another has to agree" in requirement.sentence
    poisoned.refresh_from_db()
    allow(poisoned, make_person("olga", is_moderator=True))
    requirement = gate.check_outputs(Run.objects.get(pk=poisoned.subject["run"]))
    assert requirement.state == "warning" and "olga read them all." in requirement.sentence
