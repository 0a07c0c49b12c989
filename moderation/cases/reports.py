"""Reports: anybody signed in who may read can say that something is wrong; an answer's report carries how it came about."""

import math
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import require
from hub.common.errors import Forbidden, InvalidInput
from hub.community.listeners import notify
from hub.repos.models import Repo
from moderation import audit
from moderation.cases.queue import path_of
from moderation.models import Case
from moderation.people import maintainers_of, moderators

MAX_TEXT_CHARACTERS = 20_000
MAX_SUBJECT_CHARACTERS = 100_000
TEXT_KEYS = ("prompt", "answer", "release", "revision", "model_digest", "path")
MAX_REPORTS_A_DAY = 50  # of one person: a queue is read by people
SEVERITY = 2


@transaction.atomic
def open_report(*, repo: Repo, by: User, text: str, subject: dict[str, Any] | None = None) -> Case:
    """A case for the moderators; the same words about the same thing again, while the first case is open, are that case.
    `subject`: {"prompt","answer","settings","release","revision","model_digest","path","may_publish"}, the last one whether
    the prompt may become public as a test."""
    require(by, "report", repo)
    if not text.strip():
        raise InvalidInput("Say in a sentence what is wrong with it.")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidInput(f"A report has at most {MAX_TEXT_CHARACTERS:,} characters; shorten it.")
    kept = clean_subject(subject or {})
    text = storable(text)
    kept["text"] = text.strip()
    User.objects.select_for_update(no_key=True).get(pk=by.pk)  # a form sent twice at once
    theirs = Case.objects.filter(kind=Case.Kind.REPORT, opened_by=by)
    for case in theirs.filter(repo=repo, state=Case.State.OPEN):
        if {**case.subject, "notes": None} == {**kept, "notes": None}:  # whatever was said about it since
            return case
    today = theirs.filter(opened_at__gt=timezone.now() - timedelta(days=1))
    if today.count() >= MAX_REPORTS_A_DAY:
        raise Forbidden(f"You have sent {MAX_REPORTS_A_DAY} reports within a day; go on tomorrow.")
    case = Case.objects.create(
        kind=Case.Kind.REPORT,
        severity=SEVERITY,
        repo=repo,
        title=" ".join(text.split())[:300],
        subject=kept,
        opened_by=by,
    )
    audit.record("report.opened", str(repo), by=by, case=case.pk)
    people = {user.pk: user for user in [*maintainers_of(repo), *moderators()]}
    notify(list(people.values()), f"Report on {repo}: {case.title}", path_of(case), actor=by)
    return case


def clean_subject(subject: dict[str, Any]) -> dict[str, Any]:
    """What is known of an answer: texts, and settings as a flat table of names and values."""
    kept: dict[str, Any] = {}
    for key in TEXT_KEYS:
        if subject.get(key):
            kept[key] = storable(str(subject[key]))
    settings = subject.get("settings")
    if isinstance(settings, dict) and settings:
        kept["settings"] = {storable(str(name)[:60]): plain(value) for name, value in list(settings.items())[:50]}
    if isinstance(subject.get("may_publish"), bool):  # False: was asked and did not allow it
        kept["may_publish"] = subject["may_publish"]  # the prompt, as a test; the report and its author never
    if sum(len(str(value)) for value in kept.values()) > MAX_SUBJECT_CHARACTERS:
        raise InvalidInput(f"The reported answer has more than {MAX_SUBJECT_CHARACTERS:,} characters; shorten it.")
    return kept


def storable(text: str) -> str:
    """What a database takes: no NUL, no half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", errors="replace").decode()


def plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return storable(str(value)[:500])
