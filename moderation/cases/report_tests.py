"""An accepted report becomes a test: a row of a suite that every later release is put to. The case waits until a published
release passes it, and waits again when a later one fails.

Who reported it, and their words about it, stay in the case. Their question goes into the test only where they allowed it."""

import re
import secrets
from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.common.errors import Conflict, Forbidden, InvalidInput
from hub.community.listeners import notify
from hub.repos.find import find_repo
from hub.repos.models import Repo
from moderation import audit
from moderation.cases.queue import is_about_model, path_of
from moderation.cases.report_suites import add_row, open_suite
from moderation.models import Case, Release, ReportTest
from moderation.people import maintainers_of
from moderation.screens import screen_text
from training.engine.evals.suite import MAX_WORDINGS, check_wordings
from training.evaluating import commit_evaluations
from training.models import Evaluation

State = Case.State
MAX_PROMPT_CHARACTERS = 4_000
MAX_ANSWER_CHARACTERS = 4_000
MAX_WORDING_CHARACTERS = 200
SHARED_WORDS = 8  # in a row, from which on a prompt is the reporter's and not somebody's own
GIVEN_OUT = (Release.State.PUBLISHED,)


def may_make_test(case: Case, user: Any) -> bool:
    """Moderators and who maintains the model, once the report was accepted."""
    if not is_about_model(case) or case.state != State.WAITING or ReportTest.objects.filter(case=case).exists():
        return False
    return can(user, "moderate") or can(user, "write", case.repo)


def may_see_suite(test: ReportTest, user: Any) -> bool:
    """Whether this person may know where it stands: who reported it sees the case, and perhaps not the suite."""
    return test.suite is not None and test.suite.deleted_at is None and can(user, "read", test.suite)


def offer_prompt(case: Case) -> str:
    """What the form begins with: the reported question, where its author allowed that."""
    return str(case.subject.get("prompt", "")) if case.subject.get("may_publish") else ""


def offer_suite(case: Case, user: Any) -> str:
    """The suite of the model's other tests, where this person may read it."""
    rows = ReportTest.objects.filter(case__repo=case.repo, suite__deleted_at__isnull=True).exclude(suite=None)
    test = rows.select_related("suite__owner_user", "suite__owner_organization").order_by("-pk").first()
    return test.suite.full_name if test is not None and test.suite and can(user, "read_files", test.suite) else ""


def make_test(
    *,
    case: Case,
    by: User,
    prompt: str,
    must: Sequence[str] = (),
    must_not: Sequence[str] = (),
    answer: str = "",
    suite: str = "",
) -> ReportTest:
    """Write the row into `suite` (NAMESPACE/NAME; empty: that of the model's tests, made where there is none): a commit for
    who may write there, else a pull request.

    Raises Forbidden, Conflict, and InvalidInput that says what the test lacks or may not hold."""
    if not is_about_model(case) or not (can(by, "moderate") or can(by, "write", case.repo)):
        raise Forbidden("Moderators and the maintainers of the model make tests of its accepted reports.")
    refuse_made(case)
    row = describe_row(prompt, must, must_not, answer)
    check_permission(case, row)
    check_words(row)
    target = (
        find_repo("dataset", name, by) if (name := suite.strip() or offer_suite(case, by)) else open_suite(case, by)
    )
    pull_request = add_row(target, by, row)
    with transaction.atomic():
        locked = Case.objects.select_for_update().get(pk=case.pk)
        refuse_made(locked)
        test = ReportTest.objects.create(
            case=locked, suite=target, row=row["id"], pull_request=pull_request, made_by=by
        )
        audit.record("report.tested", str(case.repo), by=by, case=case.pk, suite=target.full_name, row=row["id"])
    return test


def refuse_made(case: Case) -> None:
    if ReportTest.objects.filter(case=case).exists():
        raise Conflict("This report is a test already.")
    if case.state != State.WAITING:
        raise Conflict("A moderator has to accept the report first; then it can become a test.")


def describe_row(prompt: str, must: Sequence[str], must_not: Sequence[str], answer: str) -> dict[str, Any]:
    """The row as the suite holds it. Raises InvalidInput."""
    row: dict[str, Any] = {"id": f"report-{secrets.token_hex(8)}", "prompt": prompt.strip()}
    for name, words in (("must", must), ("must_not", must_not)):
        if kept := [line.strip() for line in words if line.strip()]:
            row[name] = kept
    if answer.strip():
        row["answer"] = answer.strip()
    if not row["prompt"]:
        raise InvalidInput("Write the question that the model is asked.")
    if len(row["prompt"]) > MAX_PROMPT_CHARACTERS or len(answer) > MAX_ANSWER_CHARACTERS:
        raise InvalidInput(f"Question and better answer have at most {MAX_PROMPT_CHARACTERS:,} characters each.")
    wordings = [*row.get("must", []), *row.get("must_not", [])]
    if len(wordings) > MAX_WORDINGS or any(len(words) > MAX_WORDING_CHARACTERS for words in wordings):
        raise InvalidInput(f"At most {MAX_WORDINGS} wordings of {MAX_WORDING_CHARACTERS} characters each.")
    if len(row) == 2:
        raise InvalidInput("Say what the answer must hold, what it must not, or how a better answer reads.")
    if problem := check_wordings(row):
        raise InvalidInput(f"This is no test yet: {problem}.")
    return row


def check_permission(case: Case, row: dict[str, Any]) -> None:
    """Without permission nothing of the reporter's question may stand in the test. Raises InvalidInput."""
    theirs = words_of(str(case.subject.get("prompt", "")))
    if case.subject.get("may_publish") or not theirs:
        return
    # An answer may well hold the few words of a short question; all of one that is long it need not repeat.
    others = [*row.get("must", []), *row.get("must_not", []), row.get("answer", "")]
    if shares_run(theirs, words_of(row["prompt"]), min(SHARED_WORDS, len(theirs))) or any(
        shares_run(theirs, words_of(text), SHARED_WORDS) for text in others
    ):
        raise InvalidInput(f"{permission_of(case)} Ask the same in your own words.")


def permission_of(case: Case) -> str:
    """What the reporter said to it that their question becomes public, in one sentence."""
    if "prompt" not in case.subject:
        return "The report holds no question."
    if "may_publish" not in case.subject:
        return "The reporter was not asked whether their question may become public."
    allowed = "allowed" if case.subject["may_publish"] else "did not allow"
    return f"The reporter {allowed} that their question becomes public."


def shares_run(theirs: list[str], ours: list[str], length: int) -> bool:
    """Whether so many words in a row of one text stand in the other."""
    runs = {tuple(theirs[i : i + length]) for i in range(len(theirs) - length + 1)}
    return any(tuple(ours[i : i + length]) in runs for i in range(len(ours) - length + 1))


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def check_words(row: dict[str, Any]) -> None:
    """A test is public: no personal data, no keys. Raises InvalidInput."""
    text = "\n".join([row["prompt"], *row.get("must", []), *row.get("must_not", []), row.get("answer", "")])
    for finding in screen_text(text, where="the test"):
        if finding.screen in ("personal_data", "secrets"):
            raise InvalidInput(f"{finding.message} Put a made-up one in its place.")
    if contact := CONTACT.search(text):
        raise InvalidInput(
            f"“{contact.group()[:2]}…” looks like the address or number of a person; put a made-up one in its place."
        )


# Of one person, where the screens of whole files wait for many. Addresses of example.* belong to nobody.
CONTACT = re.compile(
    r"[\w.+-]{1,64}@(?!(?:[\w-]{1,63}\.)?example\.)[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}|\+\d[\d ()./-]{7,20}\d"
)


# --- what releases do to the cases


def put_to_tests(release: Release) -> None:
    """Queue an evaluation on each suite that holds tests of this model; in the transaction that publishes."""
    tests = ReportTest.objects.filter(case__repo=release.repo, suite__deleted_at__isnull=True)
    for suite in Repo.objects.filter(pk__in=tests.values("suite")):
        commit_evaluations.start(repo=release.repo, commit=release.commit, suite=suite)


@transaction.atomic
def settle(evaluation: Evaluation) -> None:
    """Close the cases whose test a published release passes; those that it fails wait on, or again."""
    outcomes: dict[str, bool] = evaluation.results.get("checks") or {}
    release = (
        Release.objects.filter(repo=evaluation.repo, commit=evaluation.commit, state__in=GIVEN_OUT)
        .order_by("-published_at", "-pk")
        .first()
    )
    if not evaluation.commit or release is None:
        return
    tests = ReportTest.objects.filter(case__repo=evaluation.repo, suite=evaluation.suite_repo, row__in=outcomes)
    for test in tests.select_related("case__repo").order_by("pk"):
        case = Case.objects.select_for_update(of=("self",)).select_related("repo").get(pk=test.case_id)
        if outcomes[test.row]:
            close(case, test, release)
        else:
            reopen(case, test, release, f"{release.tag} fails its test.")


def close(case: Case, test: ReportTest, release: Release) -> None:
    if case.state != State.WAITING or (test.failed_by is not None and is_newer(test.failed_by, release)):
        return
    test.passed_by = release
    test.save(update_fields=["passed_by"])
    move(case, State.RESOLVED, f"{release.tag} passes the test that this report became.")
    audit.record("report.fixed", str(case.repo), case=case.pk, release=release.tag)
    tell(case, f"Fixed in {case.repo} {release.tag}: {case.title[:160]}")


def reopen(case: Case, test: ReportTest, release: Release, reason: str) -> None:
    """A case that a release had closed waits again; one that waits remembers who failed last."""
    if test.passed_by is not None and is_newer(test.passed_by, release):
        return  # an older line is published still
    was_closed = case.state == State.RESOLVED and test.passed_by is not None
    if not was_closed and case.state != State.WAITING:
        return
    test.failed_by, test.passed_by = release, None
    test.save(update_fields=["failed_by", "passed_by"])
    if was_closed:
        move(case, State.WAITING, reason)
        audit.record("report.reopened", str(case.repo), case=case.pk, release=release.tag)
        tell(case, f"Waiting for a fix again: {reason} {case.title[:160]}")


def is_newer(one: Release, other: Release) -> bool:
    """Whether `one` was published after `other`."""
    return one.pk != other.pk and (one.published_at or one.created_at) > (other.published_at or other.created_at)


def follow_state(release: Release) -> None:
    """In the transaction that changes the state: what only a withdrawn release mended is mended no more; one that is given
    out again is put to the tests again."""
    if release.state == Release.State.PUBLISHED:
        put_to_tests(release)
        return
    for test in ReportTest.objects.filter(passed_by=release).select_related("case__repo"):
        word = release.get_state_display().lower()
        test.passed_by = None
        test.save(update_fields=["passed_by"])
        move(test.case, State.WAITING, f"{release.tag}, which passed its test, is {word}.")
        audit.record("report.reopened", str(release.repo), case=test.case_id, release=release.tag)
        tell(test.case, f"Waiting for a fix again, since {release.tag} is {word}: {test.case.title[:160]}")


def move(case: Case, state: str, reason: str) -> None:
    case.state, case.decided_at, case.decision_reason = state, timezone.now(), reason
    case.save(update_fields=["state", "decided_at", "decision_reason"])


def tell(case: Case, text: str) -> None:
    """Who reported it, and who maintains the model."""
    notify([case.opened_by, *maintainers_of(case.repo)], text, path_of(case))
