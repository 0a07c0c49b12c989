"""Repositories end only when nothing about them has to be decided or kept, and the log remembers that they were there."""

from typing import Any

from django.dispatch import receiver

from hub.accounts.models import User
from hub.common.errors import Conflict
from hub.community.listeners import settle_news
from hub.repos.events import repo_deleting, repo_removing, repo_restored
from hub.repos.models import Content, Repo
from moderation import audit
from moderation.cases.queue import path_of, queue_of
from moderation.models import Case, Finding, Release

UNREAD = {"unknown_format", "unread_format"}  # rules of moderation.screens.unsafe_files


@receiver(repo_deleting)
def answer_deletion(sender: type, repo: Repo, by: User, **_: Any) -> None:
    """Within the transaction that deletes. Raises Conflict while cases are open: nobody takes the evidence away. A file that waits
    for no more than its format is no evidence of anything."""
    refuse_with_release(repo)
    rows = Case.objects.filter(repo=repo, state=Case.State.OPEN).select_related("content").order_by("pk")
    case = next((row for row in rows if not is_only_unread(row)), None)
    if case is not None:
        way_out = f", or when you purge {case.content.path} from its history" if case.content is not None else ""
        raise Conflict(
            f"{repo.full_name} cannot be deleted while a moderator has to decide about it (case {case.pk}); "
            f"it can be when that is decided{way_out}."
        )
    cases = Case.objects.filter(repo=repo)
    settle_news([queue_of(repo), *(path_of(row) for row in cases)])  # its cases are missing, too, until it is back
    audit.record("repo.deleted", str(repo), by=by, is_public=not repo.is_private, type=repo.type, key=repo.key)


def is_only_unread(case: Case) -> bool:
    """Whether a file is held for its format alone, and nobody said anything about it."""
    if case.content is None or case.opened_by_id is not None or case.content.clearance != Content.Clearance.PENDING:
        return False
    found = case.content.findings.exclude(severity=Finding.Severity.INFO)
    rules = set(found.values_list("rule", flat=True))
    return bool(rules) and rules <= UNREAD


@receiver(repo_restored)
def remember_return(sender: type, repo: Repo, by: User, **_: Any) -> None:
    audit.record("repo.restored", str(repo), by=by, is_public=not repo.is_private, type=repo.type, key=repo.key)


@receiver(repo_removing)
def remember_end(sender: type, repo: Repo, by: User | None, **_: Any) -> None:
    audit.record("repo.removed", str(repo), by=by, is_public=not repo.is_private, type=repo.type, key=repo.key)


def refuse_with_release(repo: Repo) -> None:
    release = Release.objects.filter(repo=repo).order_by("pk").first()
    if release is not None:
        raise Conflict(
            f"{repo.full_name} cannot be deleted: its release {release.tag} ({release.get_state_display().lower()}) and "
            "what was said about it are kept; make the repository private or describe it as given up instead."
        )
