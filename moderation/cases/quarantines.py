"""Taking something offline at once: one moderator is enough, and not for long. Within 72 hours another one agrees, or it
ends by itself. Each has a case, decided at once, whose reasons its people read and appeal against."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.people import count_active_people
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, HubError, InvalidInput
from hub.community.listeners import notify
from hub.repos.clearance import note_publication
from hub.repos.models import Repo
from hub.repos.publication import publish
from hub.storage.errors import StorageError
from moderation import audit
from moderation.cases.case_stakes import why_has_stake as why_has_stake_in_case
from moderation.cases.consequences import followers
from moderation.cases.queue import (
    MAX_REASON_CHARACTERS,
    SEVERITY_OF_BLOCK,
    State,
    check_clause,
    concerned,
    path_of,
    resolve_case,
    write_decision,
)
from moderation.models import Case, Quarantine, Release
from moderation.people import moderators

# Gives a release out again: (release, by, what it was before, reason); "" or why it stays closed. Set by moderation.releasing.publishing,
# which stands above this room.
give_back_release: list[Callable[[Release, User | None, dict[str, Any], str], str]] = []
LASTS = timedelta(hours=72)  # on one person's word
RENEWED_BY_ANOTHER = timedelta(days=30)  # for so long who let one lapse cannot begin it again alone

log = logging.getLogger(__name__)


def find_quarantine(repo: Repo, release: Release | None = None) -> Quarantine | None:
    rows = Quarantine.objects.filter(repo=repo, release=release, ended_at=None)
    return rows.select_related("by", "seconded_by", "case").first()


@transaction.atomic
def take_offline(*, case: Case, by: User, reason: str, clause: str = "", now: datetime | None = None) -> Quarantine:
    """The whole repository of a case: nobody but its members and moderators sees it from now on. Returns the quarantine,
    whose own case is decided with it.

    Raises Forbidden for who has a stake or let the same lapse lately, Conflict where it is offline already."""
    require(by, "moderate")
    now = now or timezone.now()
    if problem := why_has_stake_in_case(case, by):
        raise Forbidden(problem)
    repo = Repo.objects.select_for_update(of=("self",)).for_listing().get(pk=case.repo_id)
    if repo.is_disabled:
        raise Conflict(f"{repo} is offline already.")
    refuse_renewal(repo, by, now)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    check_clause(clause)
    repo.is_disabled, repo.disabled_reason = True, reason.strip()[:MAX_REASON_CHARACTERS]
    repo.save(update_fields=["is_disabled", "disabled_reason"])
    show_later(repo)
    return begin(repo, by, f"{repo} taken offline: {reason}", reason, clause, {"follows": case.pk}, now)


def begin(
    repo: Repo, by: User, title: str, reason: str, clause: str, subject: dict[str, Any], now: datetime, **about: Any
) -> Quarantine:
    """The record and its case, decided at once; in the transaction that takes the thing offline."""
    own = Case.objects.create(
        kind=Case.Kind.OFFLINE, severity=SEVERITY_OF_BLOCK, repo=repo, title=title[:300], subject=subject
    )
    begun = Quarantine.objects.create(repo=repo, case=own, by=by, at=now, lapses_at=now + LASTS, **about)
    write_decision(own, by, State.REFUSED, reason, clause)
    others = [user for user in moderators() if user != by]
    notify(others, f"To second within 72 hours: {own.title}", path_of(own), actor=by)
    return begun


def follow_release(release: Release, by: User | None, before: dict[str, Any]) -> None:
    """A release changed its state: out of quarantine, its record ends; into it, one begins."""
    if release.state == Release.State.QUARANTINED and by is not None:
        refuse_renewal(release.repo, by, timezone.now(), release)
        subject = {"release": release.tag, **before}
        title = f"{release.repo} {release.tag} taken offline: {release.state_reason}"
        begin(release.repo, by, title, release.state_reason, "", subject, timezone.now(), release=release)
    elif before["was"] == Release.State.QUARANTINED:
        for row in Quarantine.objects.select_for_update().filter(release=release, ended_at=None):
            write_end(row, by, release.state_reason, timezone.now())
            tell_end(row, by, release.state_reason)


def refuse_renewal(repo: Repo, by: User, now: datetime, release: Release | None = None) -> None:
    """Whether it lapsed or was lifted in time by who began it: one moderator alone has 72 hours, and not again and again."""
    alone = Quarantine.objects.filter(repo=repo, release=release, by=by, seconded_by=None)
    if count_active_people() > 1 and alone.filter(ended_at__gt=now - RENEWED_BY_ANOTHER).exists():
        raise Forbidden("Yours ended, and nobody seconded it; another moderator has to take it offline again.")


def show_later(repo: Repo) -> None:
    """The public half follows when the transaction is through; a crash in between is mended by its note."""
    note = note_publication(repo)

    def show() -> None:
        publish(repo, is_withdrawal=repo.is_disabled)
        note.delete()

    transaction.on_commit(show)


def why_not_second(quarantine: Quarantine, by: User) -> str:
    """ "" when `by` may agree, so that it lasts until somebody lifts it."""
    if not can(by, "moderate"):
        return "A moderator seconds it."
    if quarantine.ended_at is not None:
        return "It has ended."
    if quarantine.seconded_by_id is not None:
        return f"{quarantine.seconded_by} seconded it already."
    if quarantine.by_id == by.pk:
        return "You took it offline yourself; another moderator has to second it."
    return why_has_stake_in_case(quarantine.case, by)


@transaction.atomic
def second(*, quarantine: Quarantine, by: User, reason: str, now: datetime | None = None) -> Quarantine:
    """Agree, with a reason of one's own: from now on it does not lapse."""
    require(by, "moderate")
    row = lock(quarantine)
    if problem := why_not_second(row, by):
        raise Forbidden(problem)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    row.seconded_by, row.seconded_at = by, now or timezone.now()
    row.save(update_fields=["seconded_by", "seconded_at"])
    audit.record("quarantine.seconded", name_of(row), by=by, is_public=is_public(row), case=row.case_id, reason=reason)
    notify(concerned(row.case), f"{by} agreed that {name_of(row)} stays offline: {reason}", path_of(row.case), actor=by)
    return row


def why_not_end(quarantine: Quarantine, by: User) -> str:
    """ "" when `by` may lift it: any moderator without a part in it; the one who began it only as long as they are alone."""
    if not can(by, "moderate"):
        return "A moderator lifts it."
    if quarantine.ended_at is not None:
        return "It has ended."
    if quarantine.by_id == by.pk and quarantine.seconded_by_id is not None:
        return f"{quarantine.seconded_by} agreed to it; another moderator has to lift it."
    return why_has_stake_in_case(quarantine.case, by)


def why_not_give_back(release: Release, by: User) -> str:
    """The same of a release, by whichever page: what a second moderator agreed to is not ended by the first."""
    row = Quarantine.objects.filter(release=release, ended_at=None).select_related("case", "seconded_by").first()
    return why_not_end(row, by) if row is not None else ""


@transaction.atomic
def lift(*, quarantine: Quarantine, by: User, reason: str, now: datetime | None = None) -> Quarantine:
    require(by, "moderate")
    row = lock(quarantine)
    if problem := why_not_end(row, by):
        raise Forbidden(problem)
    if not reason.strip():
        raise InvalidInput("Give the reason in a sentence; the people concerned read it.")
    end(row, by, reason.strip(), now or timezone.now())
    return row


def lapse_due(now: datetime | None = None) -> int:
    """End what nobody seconded in time. Returns how many."""
    now = now or timezone.now()
    due = Quarantine.objects.filter(ended_at=None, seconded_by=None, lapses_at__lte=now)
    ended = 0
    for row in due.order_by("pk"):
        try:
            ended += lapse(row, now)
        except (HubError, StorageError, DatabaseError):  # one that cannot be given back must not keep the others closed
            log.exception("Quarantine %s could not lapse.", row.pk)
    return ended


@transaction.atomic
def lapse(quarantine: Quarantine, now: datetime) -> bool:
    row = lock(quarantine)
    if row.ended_at is not None or row.seconded_by_id is not None:
        return False  # somebody was faster
    end(row, None, "No second moderator agreed within 72 hours.", now)
    return True


def lock(quarantine: Quarantine) -> Quarantine:
    rows = Quarantine.objects.select_for_update(of=("self",)).select_related(
        "repo", "release__repo", "case__repo", "by", "seconded_by"
    )
    return rows.get(pk=quarantine.pk)


def end(row: Quarantine, by: User | None, reason: str, now: datetime) -> None:
    """In the transaction that holds the row: online again, or why not, remembered, and told."""
    write_end(row, by, reason, now)
    if row.release is not None:
        tell_end(row, by, reason, stays_closed=give_back_release[0](row.release, by, row.case.subject, reason))
        return
    repo = Repo.everything.select_for_update().get(pk=row.repo_id)
    repo.is_disabled, repo.disabled_reason = False, ""
    repo.save(update_fields=["is_disabled", "disabled_reason"])
    show_later(repo)
    tell_end(row, by, reason)


def write_end(row: Quarantine, by: User | None, reason: str, now: datetime) -> None:
    row.ended_at, row.ended_by, row.end_reason = now, by, reason
    row.save(update_fields=["ended_at", "ended_by", "end_reason"])


def tell_end(row: Quarantine, by: User | None, reason: str, stays_closed: str = "") -> None:
    """To the log and the people. `stays_closed`: why it is not given out although nobody holds it any more; then an appeal
    that waits goes on waiting."""
    action = "quarantine.lifted" if by is not None else "quarantine.lapsed"
    if stays_closed:
        action, row.end_reason = "quarantine.ended", f"{reason} It stays offline: {stays_closed}"
        row.save(update_fields=["end_reason"])
    audit.record(action, name_of(row), by=by, is_public=is_public(row), case=row.case_id, reason=row.end_reason)
    waiting = Case.objects.filter(subject__appeal_of=row.case_id, state=State.OPEN).select_related("repo")
    for again in [] if stays_closed else waiting:
        resolve_case(again, f"It is online again. {reason}")
    reporter = Case.objects.filter(pk=row.case.subject.get("follows") or 0).select_related("opened_by").first()
    people = {user.pk: user for user in [*concerned(row.case), *moderators()] if user is not None}
    if reporter is not None and reporter.opened_by is not None:
        people[reporter.opened_by.pk] = reporter.opened_by
    text = f"{name_of(row)} is online again: {reason}"
    if stays_closed:
        text = (
            f"The quarantine of {name_of(row)} ended, but it stays offline until a moderator lifts it. {row.end_reason}"
        )
    notify(list(people.values()), text, path_of(row.case), actor=by)


def name_of(row: Quarantine) -> str:
    return f"{row.repo}@{row.release.tag}" if row.release is not None else str(row.repo)


def is_public(row: Quarantine) -> bool:
    """Whether the log tells everybody."""
    return not row.repo.is_private


def settle_appeal(case: Case) -> None:
    """An appeal was decided: allowed, it is online again; refused, a second moderator has agreed by that."""
    first = Case.objects.filter(pk=case.subject.get("appeal_of") or 0).first()
    row = Quarantine.objects.filter(case=first, ended_at=None).first() if first is not None else None
    by = case.decided_by
    if row is None or by is None:
        return  # its own first case, or it has ended meanwhile
    row = lock(row)
    if case.state == State.ALLOWED:
        end(row, by, case.decision_reason, case.decided_at or timezone.now())
    elif row.seconded_by_id is None and row.by_id != by.pk:
        row.seconded_by, row.seconded_at = by, case.decided_at
        row.save(update_fields=["seconded_by", "seconded_at"])
        audit.record("quarantine.seconded", name_of(row), by=by, is_public=is_public(row), case=row.case_id)


followers[Case.Kind.OFFLINE] = settle_appeal


ACTS = {"take": "Take it offline", "second": "Second it", "lift": "Put it online again"}


def of_case(case: Case) -> Quarantine | None:
    """The quarantine that a case speaks of: its own, that of an appeal, or the one of the reported repository."""
    rows = Quarantine.objects.select_related("by", "seconded_by", "ended_by", "case", "release__repo", "repo")
    if case.kind == Case.Kind.OFFLINE:
        return rows.filter(case__in=[case.pk, case.subject.get("appeal_of") or case.pk]).first()
    return rows.filter(repo=case.repo, release=None, ended_at=None).first()


def list_acts(case: Case, user: Any) -> list[tuple[str, str]]:
    """(act, words) of what this moderator may do at once about the case's repository."""
    if not can(user, "moderate"):
        return []
    row = of_case(case)
    if row is None:
        is_theirs = case.kind == Case.Kind.REPORT and not why_has_stake_in_case(case, user)
        return [("take", ACTS["take"])] if is_theirs and not case.repo.is_disabled else []
    may = {"second": not why_not_second(row, user), "lift": not why_not_end(row, user)}
    return [(act, ACTS[act]) for act, is_theirs in may.items() if is_theirs]


def act_on(*, case: Case, by: User, act: str, reason: str, clause: str = "") -> Quarantine:
    """`take` what a case reports offline, `second` or `lift` the quarantine that it speaks of."""
    require(by, "moderate")
    if act not in ACTS:
        raise InvalidInput(f"It can be {', '.join(ACTS)}, not {act!r}.")
    if act == "take":
        return take_offline(case=case, by=by, reason=reason, clause=clause)
    row = of_case(case)
    if row is None:
        raise Conflict(f"{case.repo} is not offline.")
    return (second if act == "second" else lift)(quarantine=row, by=by, reason=reason)
