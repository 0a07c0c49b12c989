"""Deleted repositories. Nobody finds them, and nothing of them is lost: their admins may bring them back, under another name
where theirs is taken by now, until the grace is over. Then, or when an admin says so before, rows and git folders end; the
large files follow when nothing else has named them for a grace of their own (hub.repos.garbage)."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, Q

from hub.accounts.models import Membership, User
from hub.accounts.names import check_name
from hub.accounts.permissions import can, require, token_allows
from hub.common.errors import Conflict, NotFound
from hub.repos.events import repo_removing, repo_restored
from hub.repos.find import lookup
from hub.repos.loose import list_files_of
from hub.repos.models import Repo, RepoCollaborator
from hub.repos.places import pair
from hub.repos.quotas import keep_counting

log = logging.getLogger(__name__)

GRACE = timedelta(days=30)  # longer than the three weeks for which Xet clients remember what they need not send again
MAX_LISTED = 200
# An import on its way is a row that is deleted and switched off, so that nobody finds it or brings it back.
IMPORT_GRACE = timedelta(days=2)  # longer than any import takes


def list_deleted(user: User) -> list[Repo]:
    """Those that `user` may bring back, the newest end first, at most MAX_LISTED."""
    organizations = Membership.objects.filter(user=user, role="admin").values("organization")
    shared = RepoCollaborator.objects.filter(user=user, role="admin").values("repo")
    theirs = Q(owner_user=user) | Q(owner_organization__in=organizations) | Q(pk__in=shared)
    rows = Repo.everything.filter(theirs, deleted_at__isnull=False, is_disabled=False).for_listing()
    rows = rows.select_related("deleted_by").order_by("-deleted_at", "-pk")[:MAX_LISTED]
    token = getattr(user, "token", None)  # may reach less than its person
    return [repo for repo in rows if token_allows(token, "restore", repo)]


def find_deleted(key: str, user: Any) -> Repo:
    """By its key: names are free for others. Raises NotFound, also where it is not theirs."""
    repo = Repo.everything.for_listing().filter(key=key, deleted_at__isnull=False).first()
    if repo is None or not can(user, "restore", repo):
        raise NotFound("There is no such deleted repository of yours; what was deleted is kept for 30 days.")
    return repo


def ends_at(repo: Repo) -> datetime:
    """From when on a collection removes it for good."""
    assert repo.deleted_at is not None, "only of deleted ones"
    return repo.deleted_at + GRACE


def restore_repo(*, repo: Repo, by: User, name: str = "") -> Repo:
    """As it was, with its discussions, roles and clearances. Raises Conflict when its name, or `name`, is taken."""
    require(by, "restore", repo)
    name = name or repo.name
    if name != repo.name:
        check_name(name, reserved_ok=True)
    full_name = f"{repo.owner.name}/{name}"
    if lookup(repo.type, full_name) is not None:
        raise Conflict(
            f"A {repo.type} repository called {full_name} is there by now; bring it back under another name."
        )
    try:
        with transaction.atomic():
            row = lock_deleted(repo)
            row.name, row.deleted_at, row.deleted_by = name, None, None
            row.save(update_fields=["name", "deleted_at", "deleted_by"])
            repo_restored.send(Repo, repo=row, by=by)
    except IntegrityError:
        raise Conflict(f"A {repo.type} repository called {full_name} was made a moment ago; choose another.") from None
    return row


def remove_repo(*, repo: Repo, by: User) -> None:
    """For good, before its time is over: nobody can bring it back."""
    require(by, "restore", repo)
    end(repo, by=by)


def remove_expired(*, now: datetime, grace: timedelta = GRACE, dry_run: bool = False) -> int:
    """End what was deleted longer ago, and imports that died; returns how many. One that cannot end is left, and told to
    the log."""
    died = Q(is_disabled=True, deleted_at__lte=now - IMPORT_GRACE)
    rows = Repo.everything.filter(died | Q(deleted_at__lte=now - grace)).for_listing().order_by("pk")
    if dry_run:
        return rows.count()
    count = 0
    for repo in rows:
        try:
            end(repo, by=None)
        except (NotFound, ProtectedError) as problem:  # brought back just now; or a record that is kept speaks of it
            log.warning("The deleted repository %s stays: %s", repo.key, problem)
        else:
            count += 1
    return count


def end(repo: Repo, *, by: User | None) -> None:
    with transaction.atomic(durable=True):
        row = lock_deleted(repo)
        repo_removing.send(Repo, repo=row, by=by)
        files = list_files_of(row)
        row.delete()
        keep_counting(files)  # else whoever fills and removes repositories by turns fills the disk
    pair(repo).remove()  # only when the rows are gone for good


def forget_import(repo: Repo) -> None:
    """What did not come to be whole: nobody has seen it, so no log speaks of it. Its bytes count until they are collected."""
    files = list_files_of(repo)
    with transaction.atomic():
        Repo.everything.filter(pk=repo.pk, deleted_at__isnull=False, is_disabled=True).delete()
        keep_counting(files)
    pair(repo).remove()


def lock_deleted(repo: Repo) -> Repo:
    """Bringing back and ending wait for each other here. Raises NotFound when it is one of the two already."""
    row = Repo.everything.select_for_update(of=("self",)).for_listing().filter(pk=repo.pk).first()
    if row is None or row.deleted_at is None:
        raise NotFound(f"{repo.full_name} is no deleted repository any more; look again.")
    return row
