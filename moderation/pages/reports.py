"""Saying that something is wrong: with a repository, a file, or an answer of a model (then prefilled by POST)."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hub.accounts.permissions import require
from hub.common.errors import HubError
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from moderation.cases.queue import path_of
from moderation.cases.reports import TEXT_KEYS, clean_subject, open_report


@repo_page()
def report(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """GET: an empty form. POST without "send": the form with what is known of the answer. POST with "send": the report."""
    require_sign_in(request)
    require(request.user, "report", repo)
    problem = ""
    try:
        subject = read_subject(request.POST or request.GET)
        if request.method == "POST" and "send" in request.POST:
            case = open_report(repo=repo, by=request.user, text=request.POST.get("text", ""), subject=subject)
            messages.success(request, "Thank you. A moderator looks at it; you will be told what comes of it.")
            return HttpResponseRedirect(path_of(case))
    except HubError as refusal:
        if refusal.status in (401, 404):
            raise
        subject, problem = {}, refusal.message
    return render_repo_page(
        request,
        repo,
        reader,
        "moderation/report.html",
        tab="none",
        status=400 if problem else 200,
        subject=subject,
        settings_json=json.dumps(subject.get("settings", {})),
        problem=problem,
        text=request.POST.get("text", ""),
    )


def read_subject(given: Any) -> dict[str, Any]:
    """What the form carries of an answer. Settings are JSON; what is none is left out."""
    # A browser sends line ends as CR LF; the answer had none of these.
    subject: dict[str, Any] = {key: given.get(key, "").replace("\r\n", "\n") for key in TEXT_KEYS}
    try:
        subject["settings"] = json.loads(given.get("settings") or "{}")
    except (ValueError, RecursionError):
        subject["settings"] = {}
    if given.get("send") and subject.get("prompt"):  # else nobody was asked
        subject["may_publish"] = given.get("may_publish") == "on"
    return clean_subject(subject)
