"""How this hub judges, in figures: from the record alone, so that everybody can hold the moderators to them.

Whatever is told by kind, time or rule comes from repositories that strangers may see. Of all others there is one count, and
none below MIN_HIDDEN: a small one would point at a private repository."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.core.cache import cache
from django.db.models import Count, F, Q
from django.utils import timezone

from hub.common.errors import InvalidInput
from moderation.cases.deadlines import TIME_FOR
from moderation.models import AuditEntry, Case, Finding, Release, ReleaseChange, Screening
from moderation.screens.comparison import wilson_interval

PERIODS = {"30": 30, "90": 90, "365": 365, "all": None}  # as in the address -> days
USUAL = "90"
MIN_DECIDED = 5  # below, a rule has no share: its interval would say nothing
MIN_HIDDEN = 5
KEPT_FOR_S = 60  # the figures are computed at most this often
STATES = (Case.State.OPEN, Case.State.ALLOWED, Case.State.REFUSED, Case.State.RESOLVED, Case.State.WAITING)
DECISIONS = tuple(f"case.{state}" for state in STATES[1:])
ACTS = (*DECISIONS, "case.half_allowed", "case.seconded", "case.recused")
VISIBLE = Q(repo__is_private=False, repo__deleted_at=None)


class Row(NamedTuple):
    """Of one case, as much as the figures need."""

    pk: int
    kind: str
    state: str
    severity: int
    opened_at: datetime
    appeal_of: int | None
    follows: int | None
    is_private: bool
    deleted_at: datetime | None

    @property
    def is_visible(self) -> bool:
        return not self.is_private and self.deleted_at is None

    @property
    def is_timed(self) -> bool:
        """What a moderator opens and decides in one act waited for nobody."""
        begins_decided = self.kind == Case.Kind.OFFLINE and not self.appeal_of
        return not begins_decided and not self.follows


def read_lately(period: str) -> dict[str, Any]:
    """`read_figures`, at most once a minute for each period."""
    check_period(period)
    key = f"transparency:{period}"
    found: dict[str, Any] | None = cache.get(key)
    if found is None:
        found = read_figures(period, timezone.now())
        cache.set(key, found, timeout=KEPT_FOR_S)
    return found


def check_period(period: str) -> None:
    if period not in PERIODS:
        raise InvalidInput(f"The period is one of {', '.join(PERIODS)} (days), not {period[:20]!r}.")


def read_figures(period: str, now: datetime) -> dict[str, Any]:
    """Cases opened in the period and what became of them until `now`; what is open, of all times."""
    check_period(period)
    days = PERIODS[period]
    since = now - timedelta(days=days) if days else None
    rows = read_cases(since)
    visible = [row for row in rows if row.is_visible]
    opened = [row for row in visible if since is None or row.opened_at >= since]
    hidden = sum(not row.is_visible and (since is None or row.opened_at >= since) for row in rows)
    return {
        "period": period,
        "since": since,
        "until": now,
        "cases": count_cases(opened),
        "hidden_cases": hidden if hidden == 0 or hidden >= MIN_HIDDEN else None,
        "times": measure_times(opened, since),
        "waiting": count_waiting(visible, now),
        "appeals": count_appeals(opened),
        "rules": judge_rules(opened),
        "screenings": count_screenings(since),
        "releases": count_releases(since),
    }


def read_cases(since: datetime | None) -> list[Row]:
    """Opened since then, and whatever is open."""
    asked = Case.objects.all() if since is None else Case.objects.filter(Q(opened_at__gte=since) | Q(state="open"))
    return [
        Row(*values)
        for values in asked.order_by("pk").values_list(
            "pk", "kind", "state", "severity", "opened_at", "subject__appeal_of", "subject__follows",
            "repo__is_private", "repo__deleted_at",
        )
    ]  # fmt: skip


def count_cases(opened: list[Row]) -> list[dict[str, Any]]:
    """One row a kind that occurs; appeals are told apart."""
    first = [row for row in opened if not row.appeal_of]
    counts = Counter((row.kind, row.state) for row in first)
    rows = [
        {"kind": kind.value, "label": kind.label, **{state.value: counts[kind, state] for state in STATES}}
        for kind in Case.Kind
    ]
    counted = [{**row, "opened": sum(row[state.value] for state in STATES)} for row in rows]
    return [row for row in counted if row["opened"]]


def measure_times(opened: list[Row], since: datetime | None) -> dict[str, dict[str, Any]]:
    """Seconds from the opening of a case to the first act and the first decision of a person, as the log has them."""
    begun = {row.pk: row.opened_at for row in opened if row.is_timed}
    entries = AuditEntry.objects.filter(action__in=ACTS).exclude(actor="").order_by("number")
    entries = entries if since is None else entries.filter(at__gte=since)
    acted: dict[int, datetime] = {}
    decided: dict[int, datetime] = {}
    for action, at, number in entries.values_list("action", "at", "data__case"):
        acted.setdefault(number, at)
        if action in DECISIONS:
            decided.setdefault(number, at)
    return {"first_act": describe_times(begun, acted), "decision": describe_times(begun, decided)}


def describe_times(begun: dict[int, datetime], ended: dict[int, datetime]) -> dict[str, Any]:
    seconds = [(ended[pk] - at).total_seconds() for pk, at in begun.items() if pk in ended]
    if not seconds:
        return {"n": 0, "median_s": None, "p90_s": None}
    tenths = statistics.quantiles(seconds, n=10, method="inclusive") if len(seconds) > 1 else seconds * 9
    return {"n": len(seconds), "median_s": statistics.median(seconds), "p90_s": tenths[8]}


def count_waiting(visible: list[Row], now: datetime) -> dict[str, int]:
    """Overdue: later than the time that its severity gives, counted from its opening and not from when it was told of."""
    waiting = [row for row in visible if row.state == Case.State.OPEN]
    late = [row for row in waiting if row.opened_at + TIME_FOR.get(row.severity, TIME_FOR[1]) <= now]
    return {"open": len(waiting), "overdue": len(late)}


def count_appeals(opened: list[Row]) -> dict[str, Any]:
    """`overturned` of the `decided`; what the hub closed because nothing was left to decide is in neither."""
    appeals = [row for row in opened if row.appeal_of]
    upheld = sum(row.state == Case.State.REFUSED for row in appeals)
    overturned = sum(is_overturned(row) for row in appeals)
    counted = share(overturned, upheld + overturned)
    return {
        "appealed": len(appeals),
        "open": sum(row.state == Case.State.OPEN for row in appeals),
        "overturned": counted.pop("hits"),
        **counted,
    }


def is_overturned(appeal: Row) -> bool:
    if appeal.kind == Case.Kind.REPORT:
        return appeal.state in (Case.State.RESOLVED, Case.State.WAITING)
    return appeal.state == Case.State.ALLOWED


def share(hits: int, n: int) -> dict[str, Any]:
    """With its 95% Wilson interval; none of none."""
    low, high = wilson_interval(hits, n) if n else (None, None)
    return {"hits": hits, "decided": n, "rate": hits / n if n else None, "low": low, "high": high}


def judge_rules(opened: list[Row]) -> list[dict[str, Any]]:
    """Of what each rule of the screens held or blocked and a person decided about, how much the person refused too.

    A case counts once for a rule, with its last decision: that of an appeal stands for the first."""
    decided = {row.pk: row for row in opened if row.state in (Case.State.ALLOWED, Case.State.REFUSED)}
    appealed = {row.appeal_of for row in decided.values() if row.appeal_of}
    judged: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for screen, rule, pk in read_findings(min((row.opened_at for row in decided.values()), default=None)):
        if pk in decided and pk not in appealed:
            judged[screen, rule].append(decided[pk].state == Case.State.REFUSED)
    return [
        {"screen": screen, "rule": rule, **rate_rule(verdicts)}
        for (screen, rule), verdicts in sorted(judged.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def rate_rule(verdicts: list[bool]) -> dict[str, Any]:
    counted = share(sum(verdicts), len(verdicts))
    few = {"rate": None, "low": None, "high": None} if len(verdicts) < MIN_DECIDED else {}
    return {"upheld": counted.pop("hits"), **counted, **few}


def read_findings(since: datetime | None) -> Iterable[tuple[str, str, int]]:
    """(screen, rule, case), once each: what the screening of a case says about its file, or about the answers."""
    rows = Finding.objects.filter(
        Q(content=F("screening__cases__content")) | Q(content=None, screening__cases__content=None),
        severity__in=[Finding.Severity.HOLD, Finding.Severity.BLOCK],
        screening__cases__kind__in=[Case.Kind.CONTENT, Case.Kind.OUTPUT],
        screening__cases__state__in=[Case.State.ALLOWED, Case.State.REFUSED],
        **({"screening__cases__opened_at__gte": since} if since else {}),
    )
    return rows.order_by().values_list("screen", "rule", "screening__cases__pk").distinct()


def count_screenings(since: datetime | None) -> dict[str, int]:
    """By how they ended."""
    rows = Screening.objects.filter(VISIBLE, **({"created_at__gte": since} if since else {}))
    counts = Counter(dict(rows.order_by().values_list("state").annotate(n=Count("pk"))))
    return {"all": counts.total(), **{state.value: counts[state] for state in Screening.State}}


def count_releases(since: datetime | None) -> dict[str, int]:
    """Each release once a row. Those refused are counted in the log: the record of one goes when it is proposed again."""
    visible = Q(release__repo__is_private=False, release__repo__deleted_at=None) & (Q(at__gte=since) if since else Q())
    states = [Release.State.YANKED, Release.State.QUARANTINED]
    changes = ReleaseChange.objects.filter(visible, state__in=states).values_list("state", "release")
    counts = Counter(state for state, _ in changes.distinct())
    published = Release.objects.filter(VISIBLE, published_at__isnull=False)
    refused = AuditEntry.objects.filter(action="release.refused", is_public=True)
    if since:
        published, refused = published.filter(published_at__gte=since), refused.filter(at__gte=since)
    return {
        "published": published.count(),
        "refused": refused.count(),
        "yanked": counts[Release.State.YANKED],
        "quarantined": counts[Release.State.QUARANTINED],
    }
