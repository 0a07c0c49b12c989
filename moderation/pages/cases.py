"""The page of one case, with its evidence and what may be done about it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from hub.accounts.permissions import can
from hub.community.models import PullRequest
from hub.web.repo_pages import require_sign_in
from moderation.cases import appeals, deadlines, quarantines, queue, report_tests, reporters, withholding
from moderation.cases.case_stakes import why_has_stake
from moderation.cases.voices import count_missing, is_exception, is_half_allowed
from moderation.models import Case, ReportTest
from moderation.rules.policies import in_force, named_in
from moderation.rules.policy_file import Clause
from moderation.screening import evidence
from training.models import Run

SHOWN_ANSWERS = 8  # that were flagged; the others open by a click, so that the decision is not pages away
SEVERITIES = {3: ("block", "Blocked"), 2: ("hold", "Needs a person"), 1: ("info", "Note")}
# What each decision means, in the words of its form.
MEANINGS = {
    "content": [
        ("allowed", "Allow it", "the file becomes public at once"),
        ("refused", "Withhold it", "only members see it; they read your reason"),
    ],
    "output": [
        ("allowed", "Allow it", "when a second moderator agrees, the check passes and it can be merged"),
        ("refused", "Refuse it", "the check fails; the proposer reads your reason"),
    ],
    "report": [
        ("resolved", "Something was done", "say what; the reporter reads it"),
        ("waiting", "It is right, and waits for a fix", "it becomes a test, and closes when a release passes it"),
        ("refused", "Nothing is wrong", "say why; the reporter reads it and can ask for another look"),
    ],
    "exempt": [
        ("allowed", "Grant it", "when a second moderator agrees; both reasons stand in the release"),
        ("refused", "Refuse it", "who asked reads your reason"),
    ],
    "offline": [
        ("allowed", "Put it online again", "everybody has it at once; the first decision stays in the log"),
        ("refused", "It stays offline", "you agree with the first decision, so that it does not lapse"),
    ],
}


def show_case(request: HttpRequest, number: int, *, problem: str = "", status: int = 200) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    why_not = queue.why_not_decide(case, request.user)
    context = {
        "case": case,
        "repo": case.repo,
        "severity": SEVERITIES.get(case.severity, SEVERITIES[1]),
        "clause": find_clause(case),
        "clauses": in_force().policy.clauses,
        "choices": [row for row in MEANINGS[case.kind] if row[0] in queue.states_for(case)],
        "may_decide": not why_not,
        "why_not": why_not if can(request.user, "moderate") or case.state == Case.State.OPEN else "",
        "file_acts": list_file_acts(case, request.user),
        "due_at": deadlines.due_at(case) if case.state == Case.State.OPEN else None,
        "is_late": deadlines.due_at(case) <= timezone.now(),
        "claimer": deadlines.claimer_of(case, timezone.now()),
        "voices": list(case.voices.select_related("by").order_by("pk")),
        "deciders": name_deciders(case),
        "missing_moderators": count_missing(case) if case.state == Case.State.OPEN or is_half_allowed(case) else 0,
        "may_see_report": can(request.user, "moderate"),
        "offline": quarantines.of_case(case),
        "offline_acts": list_offline_acts(case, request.user, may_decide=not why_not),
        "may_appeal": appeals.may_appeal(case, request.user),
        "opener": reporters.name_opener(case, request.user),
        "notes": [{**note, "at": parse_datetime(note["at"])} for note in reporters.list_notes(case, request.user)],
        "appealed": Case.objects.filter(repo=case.repo, subject__appeal_of=case.pk),
        "may_mend": case.kind == Case.Kind.CONTENT and can(request.user, "read_members", case.repo),
        "problem": problem,
        "given": request.POST,
        **describe_test(case, request),
        **describe(case),
    }
    return render(request, "moderation/case.html", context, status=status)


def describe(case: Case) -> dict[str, Any]:
    """The evidence, by kind of case."""
    if case.kind == Case.Kind.CONTENT and case.content is not None:
        findings = evidence.findings_of(case.content)
        brought = case.content.brought_by.select_related("revision").order_by("pk").first()
        return {
            "findings": findings,
            "passages": evidence.list_passages(case, findings),
            "revision": brought.revision if brought else None,
        }
    if case.kind == Case.Kind.OUTPUT and case.screening is not None:
        answers = evidence.list_answers(case.screening)
        flagged = [answer for answer in answers if answer.is_flagged]
        pull_request: PullRequest | None = case.screening.pull_request
        return {
            "hazards": evidence.list_hazards(case.screening),
            "judge": evidence.read_judge(case.screening),
            "guards": evidence.list_guards(case.screening),
            "bias": evidence.list_bias(case.screening),
            "pairs": evidence.list_pairs(case.screening),
            "flagged": flagged[:SHOWN_ANSWERS],
            "more_flagged": flagged[SHOWN_ANSWERS:],
            "others": [answer for answer in answers if not answer.is_flagged],
            "discussion": pull_request.discussion if pull_request else None,
        }
    if case.kind == Case.Kind.EXEMPT:
        run = Run.objects.select_related("pull_request__discussion").filter(pk=case.subject.get("run") or 0).first()
        return {"discussion": run.pull_request.discussion if run and run.pull_request else None}
    return {}


def name_deciders(case: Case) -> str:
    """ "mona and nora" where it took two."""
    rows = case.voices.filter(state=case.state).select_related("by").order_by("pk")
    both = [voice.by.username for voice in rows] if is_exception(case, case.state) else []
    return " and ".join(both) or (case.decided_by.username if case.decided_by else "")


def find_clause(case: Case) -> Clause | None:
    """In the words that were in force when it was decided."""
    policy = named_in(case.subject.get("policy"))
    return policy.find_clause(case.subject.get("clause", "")) if policy is not None else None


def list_file_acts(case: Case, user: Any) -> list[tuple[str, str]]:
    """(act, words) of what this moderator may do with a file of the case besides deciding it."""
    if not can(user, "moderate") or why_has_stake(case, user):
        return []
    acts = {"withhold": "Withhold this file", "restore": "Show this file again"}
    if case.kind == Case.Kind.REPORT:
        return list(acts.items())
    if case.content is None or case.state == Case.State.OPEN:
        return []  # the decision itself says it
    act = "restore" if case.content.clearance == withholding.WITHHELD else "withhold"
    return [(act, acts[act])]


def list_offline_acts(case: Case, user: Any, *, may_decide: bool) -> list[tuple[str, str]]:
    """(act, words); none beside an appeal that this moderator decides, as its decision says the same."""
    return [] if may_decide and case.kind == Case.Kind.OFFLINE else quarantines.list_acts(case, user)


def describe_test(case: Case, request: HttpRequest) -> dict[str, Any]:
    """The test that an accepted report became, or the form that makes it one, filled in with what is known."""
    test = (
        ReportTest.objects.filter(case=case).select_related("suite", "pull_request", "passed_by", "failed_by").first()
    )
    may_make = report_tests.may_make_test(case, request.user)
    if not may_make:
        sees_suite = test is not None and report_tests.may_see_suite(test, request.user)
        return {"test": test, "may_make_test": False, "sees_suite": sees_suite}
    given = {name: request.POST.get(name, "") for name in ("prompt", "must", "must_not", "answer", "suite")}
    if request.method != "POST":
        given["prompt"] = report_tests.offer_prompt(case)
        given["suite"] = report_tests.offer_suite(case, request.user)
    return {
        "test": test,
        "may_make_test": True,
        "draft": given,
        "permission": report_tests.permission_of(case),
        "is_offered": bool(report_tests.offer_prompt(case)),
    }
