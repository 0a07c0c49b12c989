"""What the channels of a model led to, from day to day, and who had approved it: told from the changes of its releases."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time

from django.db.models import F
from django.utils.dateparse import parse_date, parse_datetime

from hub.common.errors import InvalidInput
from hub.repos.channels import CHANNELS, belongs_to
from hub.repos.models import Repo
from moderation.models import Release, ReleaseApproval, ReleaseChange

PUBLISHED = Release.State.PUBLISHED


@dataclass(frozen=True)
class Span:
    """A stretch of time in which a channel led to one release, or to none."""

    channel: str
    tag: str  # "" where it led nowhere
    since: datetime
    until: datetime | None = None  # None: until today
    why: str = ""  # what ended the one before
    approved_by: list[str] = field(default_factory=list)
    is_reviewed: bool = True


def list_spans(repo: Repo, channel: str = "") -> list[Span]:
    """Newest first, of one channel or of all. Begins with the first release."""
    changes = list(
        ReleaseChange.objects.filter(release__repo=repo).select_related("release").defer(
            "release__manifest", "release__gate", "release__signature", "release__model_signature", "release__provenance"
        ).order_by("at", "pk")
    )  # fmt: skip
    approvers = approvers_of(repo)
    channels = [channel] if channel else list(CHANNELS)
    found = [span for name in channels for span in follow(name, changes, approvers)]
    return sorted(found, key=lambda span: (span.since, span.channel), reverse=True)


def follow(channel: str, changes: list[ReleaseChange], approvers: dict[int, list[str]]) -> list[Span]:
    """Oldest first."""
    offered: dict[int, Release] = {}
    spans: list[Span] = []
    for change in changes:
        release = change.release
        if not belongs_to(release.tag, channel):
            continue
        offered.pop(release.pk, None)
        if change.state == PUBLISHED:
            offered[release.pk] = release
        newest = max(offered.values(), key=lambda row: (row.published_at or row.created_at, row.pk), default=None)
        tag = newest.tag if newest is not None else ""
        if spans and spans[-1].tag == tag:
            continue
        if spans:
            spans[-1] = replace_until(spans[-1], change.at)
        names = approvers.get(newest.pk, []) if newest is not None and newest.is_reviewed else []
        spans.append(
            Span(
                channel,
                tag,
                change.at,
                None,
                describe(change),
                names,
                is_reviewed=newest is None or newest.is_reviewed,
            )  # fmt: skip
        )
    return spans


def replace_until(span: Span, until: datetime) -> Span:
    return Span(span.channel, span.tag, span.since, until, span.why, span.approved_by, span.is_reviewed)


def describe(change: ReleaseChange) -> str:
    words = f"{change.release.tag} was {change.get_state_display().lower()}"
    return f"{words}: {change.reason}" if change.reason else f"{words}."


def approvers_of(repo: Repo) -> dict[int, list[str]]:
    rows = ReleaseApproval.objects.filter(release__repo=repo, digest=F("release__digest")).order_by("pk")
    found: dict[int, list[str]] = {}
    for key, name in rows.values_list("release_id", "by__username"):
        found.setdefault(key, []).append(name)
    return found


def spans_at(repo: Repo, moment: datetime) -> list[Span]:
    """Where each channel led at a moment; a channel that had not begun is left out."""
    return [span for span in list_spans(repo) if span.since <= moment and (span.until is None or moment < span.until)]


def read_day(text: str) -> datetime:
    """The end of a day in UTC, or the moment itself where a time is given. Raises InvalidInput."""
    try:
        if day := parse_date(text):
            return datetime.combine(day, time.max, UTC)
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidInput(f"{text[:40]!r} is no day; write it like 2026-05-01.")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
