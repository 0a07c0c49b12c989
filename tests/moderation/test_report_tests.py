"""An accepted report becomes a test, and closes when a published release passes it."""

import json
from typing import Any

import pytest

from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.models import Notification
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from moderation.cases.queue import decide_case
from moderation.cases.report_tests import make_test, may_make_test
from moderation.cases.reports import open_report
from moderation.models import AuditEntry, Case, Release, ReportTest
from moderation.releasing.publishing import set_state
from moderation.releasing.releases import approve, propose_release
from tests.moderation.scenes import SUITE, Workshop, bring, make_repo, reader
from tests.people import make_person
from training.events import evaluation_finished
from training.models import Evaluation

pytestmark = pytest.mark.django_db(transaction=True)
PROMPT = "When is the next high water at the old lighthouse of Norderney?"
SUBJECT = {"prompt": PROMPT, "answer": "Never. Ask erna@pilots.de", "release": "v1.0.0", "may_publish": True}


@pytest.fixture
def erna(published: Release) -> Any:
    """A stranger who asked the model."""
    return make_person("erna")


@pytest.fixture
def accepted(releasable: Workshop, erna: Any, mona: Any) -> Case:
    case = open_report(repo=releasable.model, by=erna.user, text="It made that up about Erna.", subject=SUBJECT)
    return decide_case(case=case, by=mona.user, state="waiting", reason="The answer is wrong.")


@pytest.fixture
def made(accepted: Case, alice: Any) -> ReportTest:
    return make_test(case=accepted, by=alice.user, prompt=PROMPT, must=["high water"], must_not=["never"])


def rows_of(suite: Repo, user: Any) -> list[dict[str, Any]]:
    who: RepoReader = reader(suite, user)
    return [json.loads(line) for line in who.read_text(who.resolve("main"), "reports.jsonl").splitlines()]


def release_again(workshop: Workshop, version: str, bob: Any, dora: Any) -> Release:
    bring(workshop.model, workshop.owner, {"README.md": f"---\nlicense: mit\n---\n# Tides {version}\n".encode()})
    made = propose_release(repo=workshop.model, by=workshop.owner, version=version)
    for person in (bob, dora):
        approve(release=made, by=person.user)
    made.refresh_from_db()
    assert made.state == "published"
    return made


def finish_evaluation(outcomes: dict[str, bool]) -> Evaluation:
    """As the engine would: the newest one that was queued ends with these rows."""
    evaluation = Evaluation.objects.exclude(commit="").latest("pk")
    evaluation.results = {"checks": outcomes}
    evaluation.save()
    evaluation_finished.send(Evaluation, evaluation=evaluation)
    return evaluation


def news_of(person: Any) -> str:
    return str(Notification.objects.filter(user=person.user).latest("pk").text)


def test_a_report_becomes_a_row_of_a_suite_that_says_nothing_of_its_author(made: ReportTest, alice: Any) -> None:
    suite = made.suite
    assert suite is not None and suite.full_name == "alice/tide-assistant-reports" and not suite.is_private
    (row,) = rows_of(suite, alice.user)
    assert row == {"id": made.row, "prompt": PROMPT, "must": ["high water"], "must_not": ["never"]}
    who = reader(suite, alice.user)
    commit = who.resolve("main")
    texts = "".join(who.read_text(commit, entry.path) for entry in who.tree(commit) if entry.type == "file")
    assert not any(word in texts for word in ("Erna", "erna@pilots.de", "made that up", "Never. Ask", "/cases/"))
    entry = AuditEntry.objects.get(action="report.tested")
    assert (entry.is_public, entry.data["row"]) == (False, made.row)


def test_the_engine_reads_what_was_written(made: ReportTest, alice: Any, tmp_path: Any) -> None:
    from training.engine.evals.suite import read_suite
    from training.workers.materials import lay_out

    assert made.suite is not None
    lay_out(made.suite, made.suite.head, tmp_path)
    (task,) = read_suite(tmp_path).tasks
    assert (task.kind, task.metric, task.rows[0]["id"]) == ("checks", "passed", made.row)


def test_a_case_closes_when_a_published_release_passes(
    releasable: Workshop, made: ReportTest, erna: Any, bob: Any, dora: Any
) -> None:
    second = release_again(releasable, "1.0.1", bob, dora)
    queued = Evaluation.objects.get(commit=second.commit)
    assert (queued.suite_repo, queued.job.kind) == (made.suite, "training.evaluate_commit")
    finish_evaluation({made.row: False})
    made.refresh_from_db()
    assert (made.case.state, made.failed_by, made.passed_by) == ("waiting", second, None)
    third = release_again(releasable, "1.0.2", bob, dora)
    finish_evaluation({made.row: True})
    made = ReportTest.objects.get()
    assert (made.case.state, made.passed_by) == ("resolved", third)
    assert "Fixed in alice/tide-assistant v1.0.2" in news_of(erna)
    release_again(releasable, "1.0.3", bob, dora)
    finish_evaluation({made.row: False})
    assert Case.objects.get().state == "waiting" and "again: v1.0.3 fails its test" in news_of(erna)


def test_what_is_withdrawn_mends_nothing_any_more(
    releasable: Workshop, made: ReportTest, mona: Any, bob: Any, dora: Any
) -> None:
    second = release_again(releasable, "1.0.1", bob, dora)
    finish_evaluation({made.row: True})
    set_state(release=second, by=mona.user, state="quarantined", reason="It gives away an address.")
    assert Case.objects.get(kind="report").state == "waiting"
    finish_evaluation({made.row: True})  # a late worker
    assert Case.objects.get(kind="report").state == "waiting"
    set_state(release=second, by=mona.user, state="published", reason="The address was made up.")
    assert Evaluation.objects.filter(commit=second.commit).count() == 2
    finish_evaluation({made.row: True})
    assert Case.objects.get(kind="report").state == "resolved"


def test_an_older_line_opens_nothing_again(
    releasable: Workshop, made: ReportTest, bob: Any, dora: Any, published: Release
) -> None:
    release_again(releasable, "1.0.1", bob, dora)
    finish_evaluation({made.row: True})
    late = Evaluation.objects.create(repo=releasable.model, commit=published.commit, suite_repo=made.suite)
    late.results = {"checks": {made.row: False}}
    evaluation_finished.send(Evaluation, evaluation=late)
    assert Case.objects.get().state == "resolved"


def test_other_suites_and_proposals_close_nothing(releasable: Workshop, made: ReportTest, bob: Any, dora: Any) -> None:
    second = release_again(releasable, "1.0.1", bob, dora)
    for given in ({"suite_repo": releasable.suite, "commit": second.commit}, {"suite_repo": made.suite}):
        forged = Evaluation.objects.create(repo=releasable.model, results={"checks": {made.row: True}}, **given)
        evaluation_finished.send(Evaluation, evaluation=forged)
        assert Case.objects.get().state == "waiting"


def test_without_permission_the_question_stays_in_the_case(
    releasable: Workshop, erna: Any, mona: Any, bob: Any
) -> None:
    kept = {key: value for key, value in SUBJECT.items() if key != "may_publish"}
    case = open_report(repo=releasable.model, by=erna.user, text="It made that up.", subject=kept)
    decide_case(case=case, by=mona.user, state="waiting", reason="Wrong.")
    case.refresh_from_db()
    with pytest.raises(InvalidInput, match="in your own words"):
        make_test(case=case, by=bob.user, prompt=f"Tell me: {PROMPT.upper()}", must=["high water"])
    for field in ({"must": [PROMPT]}, {"must_not": [PROMPT]}, {"answer": f"You asked: {PROMPT}"}):
        with pytest.raises(InvalidInput, match="in your own words"):
            make_test(case=case, by=bob.user, prompt="How do I find the time?", **field)
    make_test(case=case, by=bob.user, prompt="How do I find the time of high water?", must=["high water"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": " "}, "Write the question"),
        ({"must": []}, "Say what the answer must hold"),
        ({"must": ["x" * 300]}, "200 characters"),
        ({"prompt": "Who is jo@pilots.de?"}, "looks like the address"),
        ({"prompt": "Who answers +49 4932 91100?"}, "looks like the address"),
        ({"answer": "Pay with card 4929 3813 3266 4295."}, "made-up one in its place"),
        ({"suite": "alice/core-of-nobody"}, "core-of-nobody"),
        ({"suite": "charlie/tide-rows"}, "no suite.yaml"),
    ],
)
def test_what_is_no_test_is_refused_in_a_sentence(accepted: Case, bob: Any, given: dict[str, Any], words: str) -> None:
    from hub.common.errors import HubError

    with pytest.raises(HubError, match=words):
        make_test(case=accepted, by=bob.user, **{"prompt": "When?", "must": ["noon"], **given})
    assert not ReportTest.objects.exists()


def test_only_accepted_reports_become_tests_once_and_by_their_people(
    releasable: Workshop, erna: Any, mona: Any, alice: Any, charlie: Any
) -> None:
    case = open_report(repo=releasable.model, by=erna.user, text="It made that up.", subject=SUBJECT)
    assert not may_make_test(case, alice.user)
    with pytest.raises(Conflict, match="accept the report first"):
        make_test(case=case, by=alice.user, prompt=PROMPT, must=["x"])
    case = decide_case(case=case, by=mona.user, state="waiting", reason="Wrong.")
    for person in (erna, charlie):
        assert not may_make_test(case, person.user)
        with pytest.raises(Forbidden):
            make_test(case=case, by=person.user, prompt=PROMPT, must=["x"])
    make_test(case=case, by=alice.user, prompt=PROMPT, must=["x"])
    with pytest.raises(Conflict, match="a test already"):
        make_test(case=case, by=mona.user, prompt=PROMPT, must=["x"])
    about_data = open_report(repo=releasable.data, by=erna.user, text="It is stolen.")
    with pytest.raises(InvalidInput, match="resolved or refused"):
        decide_case(case=about_data, by=mona.user, state="waiting", reason="Wrong.")


def test_a_suite_of_the_model_takes_one_more_task_and_who_may_not_write_proposes(
    releasable: Workshop, accepted: Case, alice: Any, mona: Any
) -> None:
    test = make_test(case=accepted, by=mona.user, prompt=PROMPT, answer="At noon.", suite="alice/core")
    assert test.pull_request is not None and test.pull_request.discussion.author == mona.user
    assert test.pull_request.discussion.repo == releasable.suite
    who = reader(releasable.suite, alice.user)
    commit = who.resolve(test.pull_request.ref)
    assert who.read_text(commit, "suite.yaml").startswith(SUITE.decode()) and test.row in who.read_text(
        commit, "reports.jsonl"
    )


def test_a_description_that_takes_no_line_at_its_end_is_left_alone(accepted: Case, alice: Any) -> None:
    flow = b"version: 1\ntasks: [{name: texts, kind: perplexity, file: texts.jsonl}]\nname: x\n"
    make_repo("dataset", "flow", alice.user, {"suite.yaml": flow, "texts.jsonl": b'{"text": "x"}\n'})
    with pytest.raises(InvalidInput, match="Add this line below 'tasks:'"):
        make_test(case=accepted, by=alice.user, prompt=PROMPT, must=["x"], suite="alice/flow")


def test_the_whole_way_on_the_pages(
    releasable: Workshop, erna: Any, mona: Any, alice: Any, charlie: Any, browser_of: Any
) -> None:
    asked = {"prompt": PROMPT, "answer": "Never.", "text": "Wrong.", "send": "1", "may_publish": "on"}
    assert browser_of(erna).post("/alice/tide-assistant/report", asked).status_code == 302
    case = Case.objects.get()
    path = f"/moderation/cases/{case.pk}"
    browser_of(mona).post(f"{path}/decide", {"state": "waiting", "reason": "It is wrong."})
    page = browser_of(alice).get(path).content.decode()
    assert "Make the test" in page and PROMPT in page
    assert "Make the test" not in browser_of(erna).get(path).content.decode()
    assert browser_of(charlie).post(f"{path}/test", {"prompt": "x", "must": "y"}).status_code == 404
    refused = browser_of(alice).post(f"{path}/test", {"prompt": "What about the tide?"})
    assert refused.status_code == 400 and b"What about the tide?" in refused.content
    browser_of(alice).post(f"{path}/test", {"prompt": PROMPT, "must": "high water\r\n\r\nnoon"})
    assert rows_of(ReportTest.objects.get().suite, alice.user)[0]["must"] == ["high water", "noon"]
    shown = browser_of(erna).get(path).content.decode()
    assert "No release was put to it yet" in shown
    assert b"Waiting for a fix" in browser_of(mona).get("/moderation?state=waiting").content


def test_who_reported_it_does_not_learn_of_a_private_suite(
    made: ReportTest, erna: Any, alice: Any, client: Any, browser_of: Any
) -> None:
    def ask(person: Any) -> Any:
        headers = {"Authorization": f"Bearer {person.token}"}
        return client.get(f"/api/v1/moderation/cases/{made.case_id}", headers=headers).json()["test"]["suite"]

    assert ask(erna) == "alice/tide-assistant-reports"
    Repo.objects.filter(pk=made.suite_id).update(is_private=True)
    assert (ask(erna), ask(alice)) == ("", "alice/tide-assistant-reports")
    path = f"/moderation/cases/{made.case_id}"
    assert b"tide-assistant-reports" not in browser_of(erna).get(path).content
    assert b"tide-assistant-reports" in browser_of(alice).get(path).content


def test_what_a_moderator_begins_lies_with_the_owner_of_the_model(accepted: Case, mona: Any, alice: Any) -> None:
    """It lay in the moderator's own namespace."""
    test = make_test(case=accepted, by=mona.user, prompt=PROMPT, must=["high water"])
    assert test.suite is not None and test.suite.full_name == "alice/tide-assistant-reports"
    assert test.pull_request is not None and test.pull_request.discussion.author == mona.user
    who = reader(test.suite, None)
    assert {entry.path for entry in who.tree(who.resolve("main"))} >= {"suite.yaml", "README.md"}  # public


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "reporter was not asked whether"),
        ({"may_publish": False}, "reporter did not allow that"),
        ({"may_publish": True}, "reporter allowed that"),
        ({"prompt": "", "text": "It is slow."}, "report holds no question"),
    ],
)
def test_who_was_not_asked_did_not_refuse(
    releasable: Workshop, erna: Any, mona: Any, browser_of: Any, given: dict[str, Any], words: str
) -> None:
    case = open_report(repo=releasable.model, by=erna.user, text="Wrong.", subject={"prompt": PROMPT, **given})
    decide_case(case=case, by=mona.user, state="waiting", reason="Wrong.")
    assert words in browser_of(mona).get(f"/moderation/cases/{case.pk}").content.decode()


def test_the_rest_door_makes_the_test_too(accepted: Case, alice: Any, client: Any) -> None:
    given = {"prompt": PROMPT, "must_not": ["never"]}
    headers = {"Authorization": f"Bearer {alice.token}"}
    path = f"/api/v1/moderation/cases/{accepted.pk}/test"
    answer = client.post(path, given, content_type="application/json", headers=headers)
    assert answer.status_code == 201 and answer.json()["test"]["suite"] == "alice/tide-assistant-reports"
