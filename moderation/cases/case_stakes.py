"""Who has a part in what a case judges, and so leaves it to another moderator."""

from typing import Any

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import role_of
from hub.community.candidates import people_behind
from moderation.cases import voices
from moderation.models import Case, ReleaseStake
from moderation.releasing.stakes import data_people, proposers_of
from training.models import Run


def why_has_stake(case: Case, user: Any) -> str:
    """Empty when this moderator has no part in the case, else the part in a sentence."""
    if count_active_people() == 1:
        return ""  # nobody else could; the log says so
    if is_about_own_work(case, user):
        return "This is your own contribution; another moderator has to decide it."
    if has_part(case, user):
        return "You have a part in what this case judges; another moderator has to decide it."
    of_maintainers = (Case.Kind.REPORT, Case.Kind.OFFLINE, Case.Kind.OUTPUT, Case.Kind.EXEMPT)
    # The rules of the hub are kept by all moderators: with them this would leave nobody.
    if case.kind in of_maintainers and not case.repo.is_policy and role_of(user, case.repo) in ("write", "admin"):
        return f"You maintain {case.repo}; another moderator has to decide about it."
    if case.opened_by_id == user.pk:
        return "You opened this case; another moderator has to decide it."
    if case.subject.get("appeal_of") and user.pk in deciders_of(case):
        return "You decided this before; another moderator has to decide about the appeal."
    return ""


def is_about_own_work(case: Case, user: User) -> bool:
    """Whether the case judges what this person brought, proposed or trained."""
    if case.content is not None and case.content.added_by_id == user.pk:
        return True
    pull_request = case.screening.pull_request if case.screening else None
    if pull_request is not None and pull_request.discussion.author_id == user.pk:
        return True
    run = Run.objects.filter(pk=case.subject.get("run") or 0).first() if case.kind == Case.Kind.OUTPUT else None
    return run is not None and run.proposed_by_id == user.pk


def has_part(case: Case, user: User) -> bool:
    """Whether this person brought the file in another commit, pushed to the proposal, trained the candidate, brought rows
    that it learnt from, or has a stake in the release that a report names."""
    if case.content is not None and case.content.brought_by.filter(revision__author=user).exists():
        return True
    pull_request = case.screening.pull_request if case.screening else None
    if pull_request is not None and user.pk in people_behind(pull_request):
        return True
    run = Run.objects.filter(pk=case.subject.get("run") or 0).first()
    if run is not None and (user.pk in proposers_of(run) or user.username in data_people(run)):
        return True
    version = str(case.subject.get("release", "")).removeprefix("v")
    return (
        bool(version)
        and ReleaseStake.objects.filter(release__repo=case.repo, release__version=version[:40], user=user).exists()
    )


voices.parts.append(lambda case, user: is_about_own_work(case, user) or has_part(case, user))


def deciders_of(appeal: Case) -> set[int | None]:
    """Keys of who decided what an appeal is about, and of who seconded it."""
    first = Case.objects.filter(pk=appeal.subject["appeal_of"])
    return set(first.values_list("decided_by", flat=True)) | set(
        first.values_list("quarantine__seconded_by", flat=True)
    )
