"""The moderator's queue and the page of one case; who is no moderator sees the cases that concern them."""

import re
from typing import Any

from django.contrib import messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.community.models import PullRequest
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import require_sign_in
from moderation import appeals, conversation, deadlines, evidence, quarantines, queue, report_tests, withholding
from moderation.models import Case, ReportTest
from moderation.policies import in_force, named_in
from moderation.policy_file import Clause
from moderation.voices import count_missing, is_half_allowed, recuse

PER_PAGE = 50
STATES = {"open": "Open", "waiting": "Waiting for a fix", "decided": "Decided", "all": "All"}
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


def list_cases(request: HttpRequest) -> HttpResponse:
    """The severest and oldest first. Filters stand in the address."""
    require_sign_in(request)
    is_moderator = can(request.user, "moderate")
    rows = queue.cases_for(request.user) if is_moderator else own_cases(request.user)
    filters = read_filters(request, is_moderator=is_moderator)
    context = {
        "is_moderator": is_moderator,
        "filters": filters,
        "states": STATES.items(),
        "kinds": Case.Kind.choices,
        "page": cut_numbered_page(request, filter_cases(rows, filters), PER_PAGE),
        "query": "".join(f"{name}={value}&" for name, value in filters.items() if value),
        "severities": SEVERITIES,
    }
    return render(request, "moderation/queue.html", context)


def own_cases(user: Any) -> QuerySet[Case]:
    """What this person reported, brought or proposed."""
    brought = Q(kind=Case.Kind.CONTENT, content__added_by=user)
    proposed = Q(kind=Case.Kind.OUTPUT, screening__pull_request__discussion__author=user)
    rows = Case.objects.filter(queue.LIVE, Q(opened_by=user) | brought | proposed)
    rows = rows.select_related("repo__owner_user", "repo__owner_organization", "opened_by", "decided_by")
    return rows.order_by("-opened_at", "-pk")


def read_filters(request: HttpRequest, *, is_moderator: bool) -> dict[str, str]:
    state = request.GET.get("state", "open" if is_moderator else "all")
    kind, repo = request.GET.get("kind", ""), request.GET.get("repo", "")
    return {
        "state": state if state in STATES else "open",
        "kind": kind if kind in Case.Kind.values else "",
        "q": request.GET.get("q", "").replace("\0", "").strip()[:100],
        "repo": repo if re.fullmatch(r"[0-9]{1,18}", repo) else "",  # as a notification of several files says
    }


def filter_cases(rows: QuerySet[Case], filters: dict[str, str]) -> QuerySet[Case]:
    if filters["state"] == "open":
        rows = rows.filter(state=Case.State.OPEN)
    elif filters["state"] == "waiting":
        rows = rows.filter(state=Case.State.WAITING)
    elif filters["state"] == "decided":
        rows = rows.exclude(state__in=(Case.State.OPEN, Case.State.WAITING)).order_by("-decided_at", "-pk")
    if filters["kind"]:
        rows = rows.filter(kind=filters["kind"])
    if filters["q"]:
        rows = rows.filter(Q(title__icontains=filters["q"]) | Q(repo__name__icontains=filters["q"]))
    if filters["repo"]:
        rows = rows.filter(repo=int(filters["repo"]))
    return rows


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
        "missing_moderators": count_missing(case) if case.state == Case.State.OPEN or is_half_allowed(case) else 0,
        "may_see_report": can(request.user, "moderate"),
        "offline": quarantines.of_case(case),
        "offline_acts": quarantines.list_acts(case, request.user),
        "may_appeal": appeals.may_appeal(case, request.user),
        "notes": [{**note, "at": parse_datetime(note["at"])} for note in case.subject.get("notes", [])],
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
        pull_request: PullRequest | None = case.screening.pull_request
        return {
            "hazards": evidence.list_hazards(case.screening),
            "judge": evidence.read_judge(case.screening),
            "flagged": [answer for answer in answers if answer.is_flagged],
            "others": [answer for answer in answers if not answer.is_flagged],
            "discussion": pull_request.discussion if pull_request else None,
        }
    return {}


def find_clause(case: Case) -> Clause | None:
    """In the words that were in force when it was decided."""
    policy = named_in(case.subject.get("policy"))
    return policy.find_clause(case.subject.get("clause", "")) if policy is not None else None


@require_POST
def decide_case(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    given = {name: request.POST.get(name, "") for name in ("state", "reason", "clause")}
    try:
        queue.decide_case(case=case, by=request.user, **given)
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    case.refresh_from_db()
    missing = count_missing(case) if case.state == Case.State.OPEN else 0
    said = "One more moderator has to agree; they are told, with your reason." if missing else ""
    messages.success(request, said or "Decided. The people concerned are told, with your reason.")
    return HttpResponseRedirect(queue.path_of(case))


def list_file_acts(case: Case, user: Any) -> list[tuple[str, str]]:
    """(act, words) of what this moderator may do with a file of the case besides deciding it."""
    if not can(user, "moderate") or queue.why_has_stake(case, user):
        return []
    acts = {"withhold": "Withhold this file", "restore": "Show this file again"}
    if case.kind == Case.Kind.REPORT:
        return list(acts.items())
    if case.content is None or case.state == Case.State.OPEN:
        return []  # the decision itself says it
    act = "restore" if case.content.clearance == withholding.WITHHELD else "withhold"
    return [(act, acts[act])]


@require_POST
def judge_file(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    given = {name: request.POST.get(name, "") for name in ("act", "path", "reason", "clause")}
    try:
        made = withholding.judge_file(case=case, by=request.user, **given)
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "Done. The people concerned are told, with your reason.")
    return HttpResponseRedirect(queue.path_of(made))


@require_POST
def claim_case(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    try:
        deadlines.claim(case=case, by=request.user)
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "It is yours for four hours.")
    return HttpResponseRedirect(queue.path_of(case))


@require_POST
def step_back(request: HttpRequest, number: int) -> HttpResponse:
    """A moderator who has a part in it that no row knows."""
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    try:
        recuse(case=case, by=request.user, reason=request.POST.get("recuse_reason", ""))
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "You stepped back. Another moderator decides it.")
    return HttpResponseRedirect(queue.path_of(case))


@require_POST
def act_on_offline(request: HttpRequest, number: int) -> HttpResponse:
    """Take the whole repository of a report offline; second or lift that."""
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    given = {name: request.POST.get(name, "") for name in ("act", "reason", "clause")}
    try:
        row = quarantines.act_on(case=case, by=request.user, **given)
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "Done. The people concerned are told, with your reason.")
    return HttpResponseRedirect(queue.path_of(row.case))


@require_POST
def say_in_case(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    try:
        conversation.say(case=case, by=request.user, text=request.POST.get("note", ""))
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    return HttpResponseRedirect(f"{queue.path_of(case)}#conversation")


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


@require_POST
def make_test(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    given = {name: request.POST.get(name, "").replace("\r\n", "\n") for name in ("prompt", "answer", "suite")}
    lines = {name: request.POST.get(name, "").splitlines() for name in ("must", "must_not")}
    try:
        report_tests.make_test(case=case, by=request.user, **given, **lines)
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "The test is made. Each later release is put to it, and the case closes when one passes.")
    return HttpResponseRedirect(f"{queue.path_of(case)}#test")


@require_POST
def appeal_case(request: HttpRequest, number: int) -> HttpResponse:
    require_sign_in(request)
    case = queue.find_case(number, request.user)
    try:
        again = appeals.appeal(case=case, by=request.user, text=request.POST.get("text", ""))
    except HubError as problem:
        return show_case(request, number, problem=problem.message, status=problem.status)
    messages.success(request, "Another moderator will look at it.")
    return HttpResponseRedirect(queue.path_of(again))
