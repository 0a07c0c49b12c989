"""What moderation shows on pages of the hub: the release strip, findings beside files, the screening of answers, reports."""

import json
from typing import Any

from django.db.models import F
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html

from hub.accounts.permissions import can
from hub.community.models import PullRequest
from hub.community.pull_requests import may_see_inside
from hub.repos.channels import CANDIDATE, STABLE, choose_offered
from hub.repos.models import Content, Repo, RepoRelease
from hub.repos.reader import digest_of
from hub.web.panels import add_panel, add_tab
from moderation.cases import exceptions
from moderation.cases.quarantines import find_quarantine
from moderation.cases.queue import LIVE, may_see
from moderation.models import Case, Release, ReleaseApproval
from moderation.rules import policy_changes
from moderation.rules.policies import find_version
from moderation.rules.policy_repository import is_about_policy
from moderation.screening import evidence, template_changes
from moderation.screening.hidden import find_hidden

SHOWN_FILES = 5  # that wait for a person, beside a card


def show_release_strip(request: HttpRequest, context: dict[str, Any]) -> str:
    """Under the name of a model: which version to use, who approved it, and what is wrong with the newest one."""
    repo: Repo = context["repo"]
    if repo.type != Repo.Type.MODEL or repo.is_disabled:
        return ""
    rows = list(RepoRelease.objects.filter(repo=repo).order_by("-published_at"))
    offered = [row for row in rows if row.state == RepoRelease.State.PUBLISHED]
    stable = choose_offered(offered, STABLE)
    candidate = choose_offered(offered, CANDIDATE)
    newest = rows[0] if rows else None
    proposed = None
    if can(request.user, "read_members", repo):
        rows_proposed = Release.objects.filter(repo=repo, state=Release.State.PROPOSED).only("version", "repo")
        proposed = rows_proposed.order_by("-pk").first()
    if newest is None and proposed is None:
        return ""
    strip = {
        "repo": repo,
        "stable": stable,
        "approvers": approvers_of(repo, stable) if stable else [],
        "candidate": candidate if candidate != stable else None,
        "broken": newest if newest is not None and newest.state != RepoRelease.State.PUBLISHED else None,
        "proposed": proposed,
    }
    return render_to_string("moderation/release_strip.html", strip, request=request)


def approvers_of(repo: Repo, row: RepoRelease) -> list[str]:
    """From the approvals, not from the manifest, which lists every file."""
    rows = ReleaseApproval.objects.filter(release__repo=repo, release__version=row.tag.removeprefix("v"))
    rows = rows.filter(digest=F("release__digest"), release__is_reviewed=True).order_by("pk")
    return list(rows.values_list("by__username", flat=True))


def show_waiting(request: HttpRequest, context: dict[str, Any]) -> str:
    """Beside the card, for members: which files are not public, and why."""
    reader = context["reader"]
    if not reader.is_member:
        return ""
    hidden = find_hidden(reader.repo)
    if not hidden.files:
        return ""
    things = {
        "repo": reader.repo,
        "hidden": hidden,
        "rows": with_cases(hidden.held[:SHOWN_FILES]),
        "more": len(hidden.held) - SHOWN_FILES,
    }
    return render_to_string("moderation/waiting.html", things, request=request)


def with_cases(contents: list[Content]) -> list[tuple[Content, Case | None]]:
    cases = {case.content_id: case for case in Case.objects.filter(content__in=contents).order_by("pk")}
    return [(content, cases.get(content.pk)) for content in contents]


def show_offline(request: HttpRequest, context: dict[str, Any]) -> str:
    """Of a repository that a moderator switched off, for its people: the case in which they ask for another look."""
    repo = context["repo"]
    if not repo.is_disabled or not (context["reader"].is_member or can(request.user, "moderate")):
        return ""
    row = find_quarantine(repo)
    if row is None:
        return ""
    what = format_html('<a href="/moderation/cases/{}">Case {}</a>', row.case_id, row.case_id)
    until = (
        ""
        if row.seconded_by
        else f" It is online again after {row.lapses_at:%-d %B, %H:%M} UTC unless another moderator agrees."
    )
    return format_html('<p class="small">{} is where its people ask for another look.{}</p>', what, until)


def show_report_link(request: HttpRequest, context: dict[str, Any]) -> str:
    if not can(request.user, "report", context["repo"]) and request.user.is_authenticated:
        return ""
    return format_html(
        '<section><p class="small"><a class="muted" href="{}/report">Report this {}</a></p></section>',
        context["repo"].path, context["repo"].get_type_display().lower(),
    )  # fmt: skip


def show_file_findings(request: HttpRequest, context: dict[str, Any]) -> str:
    """On the page of a file, for members: what the screens found in it, and the case that waits."""
    if not context["reader"].is_member:
        return ""
    content = Content.objects.filter(repo=context["repo"], digest=digest_of(context["entry"])).first()
    if content is None:
        return ""
    findings = evidence.findings_of(content)
    case = evidence.open_case_of(content)
    if not findings and case is None:
        return ""
    things = {"findings": findings, "case": case if case and may_see(case, request.user) else None}
    return render_to_string("moderation/file_findings.html", things, request=request)


def show_output_screening(request: HttpRequest, context: dict[str, Any]) -> str:
    """In the evidence of a proposal: violations by hazard beside the parent's, and what a moderator said."""
    pull_request: PullRequest = context["pull_request"]
    screening = evidence.newest_screening(pull_request) if pull_request.is_trained else None
    if screening is None:
        return ""
    case = evidence.newest_case(screening)
    things = {
        "screening": screening,
        "hazards": evidence.list_hazards(screening),
        "judge": evidence.read_judge(screening),
        "guards": evidence.list_guards(screening),
        "bias": evidence.list_bias(screening),
        "pairs": evidence.list_pairs(screening),
        "policy": find_version(screening.report.get("policy")),
        "case": case,
        "may_open": case is not None and may_see(case, request.user),
    }
    return render_to_string("moderation/output_screening.html", things, request=request)


def show_policy_trial(request: HttpRequest, context: dict[str, Any]) -> str:
    """Of a proposal to change the rules: what changes, and which verdicts about the last releases would be others."""
    pull_request: PullRequest = context["pull_request"]
    if not is_about_policy(pull_request) or not may_see_inside(pull_request, request.user):
        return ""
    check = pull_request.checks.filter(name=policy_changes.CHECK).first()
    if check is None or not check.evidence.get("changes"):
        return ""
    trials = check.evidence["trials"]
    things = {
        "changes": check.evidence["changes"],
        "trials": sorted(trials, key=lambda trial: bool(trial["before"]) == bool(trial["after"])),
        "most": policy_changes.TRIED_RELEASES,
        "is_old": check.digest != pull_request.candidate_digest,
    }
    return render_to_string("moderation/policy_trial.html", things, request=request)


def show_template_changes(request: HttpRequest, context: dict[str, Any]) -> str:
    """In the evidence of a proposal to a model: the chat templates that it changes, for who may read its files."""
    pull_request: PullRequest = context["pull_request"]
    files = template_changes.list_changes(pull_request, request.user)
    if not files:
        return ""
    return render_to_string("moderation/template_changes.html", {"files": files, "target": pull_request.target})


def link_case(request: HttpRequest, context: dict[str, Any]) -> str:
    """At the check "screen": the case that a moderator decides, for those who may see it."""
    key = context["check"].evidence.get("screening") if context["check"].name == "screen" else None
    case = Case.objects.filter(screening=key, kind=Case.Kind.OUTPUT).order_by("-pk").first() if key else None
    if case is None or not may_see(case, request.user):
        return ""
    return format_html('<a class="small" href="/moderation/cases/{}">Case</a>', case.pk)


def offer_exception(request: HttpRequest, context: dict[str, Any]) -> str:
    """At the failed check "evaluate": asking two moderators to set the verdict aside, for those who may."""
    check = context["check"]
    if check.name != "evaluate" or check.state != "failed":
        return ""
    if exceptions.why_not_ask(exceptions.run_of(check.pull_request), request.user):
        return ""
    discussion = check.pull_request.discussion
    address = f"{discussion.repo.path}/exception?pull_request={discussion.number}"
    return format_html('<a class="small" href="{}">Ask for an exception</a>', address)


def offer_report(request: HttpRequest, context: dict[str, Any]) -> str:
    """Under an answer of the playground: report it, with prompt, settings and release."""
    if not can(request.user, "report", context["repo"]):
        return ""
    things = {
        "repo": context["repo"],
        "prompt": context.get("prompt", ""),
        "answer": context.get("answer", ""),
        "release": context.get("release", ""),
        "commit": context.get("commit", ""),
        "settings_json": json.dumps(context.get("settings") or {}),
    }
    return render_to_string("moderation/report_answer.html", things, request=request)


def show_queue(request: HttpRequest, context: dict[str, Any]) -> str:
    """On a moderator's desk: how much waits, and since when."""
    if not can(request.user, "moderate"):
        return ""
    open_cases = Case.objects.filter(LIVE, state=Case.State.OPEN)
    oldest = open_cases.order_by("opened_at").first()
    if oldest is None:
        return ""
    things = {"count": open_cases.count(), "oldest": oldest}
    return render_to_string("moderation/desk.html", things, request=request)


def has_releases(request: HttpRequest, repo: Repo) -> bool:
    if repo.type != Repo.Type.MODEL:
        return False
    return repo.has_release_policy or can(request.user, "write", repo) or repo.public_releases.exists()


def count_releases(request: HttpRequest, repo: Repo) -> int | None:
    return repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).count() or None


add_tab("Releases", "/releases", has_releases, count_releases, order=5)
add_panel("home", show_queue, order=-10)
add_panel("repo_header", show_release_strip, order=10)
add_panel("repo_side", show_waiting, order=-5)
add_panel("repo_side", show_report_link, order=90)
add_panel("file_side", show_file_findings, order=10)
add_panel("pull_request_evidence", show_output_screening, order=20)
add_panel("pull_request_evidence", show_policy_trial, order=10)
add_panel("pull_request_evidence", show_template_changes, order=5)
add_panel("pull_request_checks", link_case, order=20)
add_panel("pull_request_checks", offer_exception, order=30)
add_panel("answer_actions", offer_report, order=10)
add_panel("repo_header", show_offline, order=5)
