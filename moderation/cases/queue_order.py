"""The queue in the order of `moderation.cases.ranking`: the facts of all its cases, in as many queries for one as for thousands."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, QuerySet

from hub.repos.models import Content
from moderation.cases.deadlines import TIME_FOR
from moderation.cases.ranking import Facts, Score, score
from moderation.models import Case, Release, ReleaseBasis

SORTS = {  # as in the address -> in words
    "urgency": "Most urgent",
    "severity": "Severest",
    "reach": "Widest reach",
    "age": "Closest to its deadline",
    "accuracy": "Most reliable reporters",
}
MAX_RANKED = 20_000  # cases; open ones first, of these the severest and oldest
ACCEPTED = (Case.State.RESOLVED, Case.State.WAITING)
SHOWN = (Release.State.PUBLISHED, Release.State.YANKED, Release.State.QUARANTINED)


@dataclass(frozen=True)
class Placed:
    """A case and its score."""

    pk: int
    score: Score

    def key(self, sort: str) -> tuple[int, int, int]:
        """By which it is sorted: whole thousandths, so that a cursor can hold them; the most urgent of equals comes first."""
        return -in_thousandths(getattr(self.score, sort)), -in_thousandths(self.score.urgency), self.pk


def in_thousandths(points: float) -> int:
    return round(1000 * points)


def list_placed(rows: QuerySet[Case], now: datetime, sort: str = "urgency") -> list[Placed]:
    """What `rows` holds, in order. Six queries at most, whatever their number."""
    found = [Placed(pk, score(facts)) for pk, facts in list_facts(rows, now)]
    return sorted(found, key=lambda placed: placed.key(sort))


def fetch(rows: QuerySet[Case], placed: Iterable[Placed]) -> list[Any]:
    """These cases of `rows` in this order, each with its `score`. One query."""
    scores = {one.pk: one.score for one in placed}
    found: dict[int, Any] = {case.pk: case for case in rows.order_by().filter(pk__in=scores)}
    for pk, case in found.items():
        case.score = scores[pk]
    return [found[pk] for pk in scores if pk in found]


def attach_scores(cases: Iterable[Any], now: datetime) -> None:
    """Give each of these cases its `score`, whatever order they are in."""
    cases = list(cases)
    placed = list_placed(Case.objects.filter(pk__in=[case.pk for case in cases]), now)
    scores = {one.pk: one.score for one in placed}
    for case in cases:
        case.score = scores[case.pk]


def list_facts(rows: QuerySet[Case], now: datetime) -> list[tuple[int, Facts]]:
    rows = rows.select_related(None).order_by()
    copies, descendants, reporters = count_copies(rows), count_descendants(rows), count_reporters(rows)
    upheld, decided = count_reports(rows)
    asked = rows.order_by(F("decided_at").desc(nulls_first=True), "-severity", "opened_at", "pk").values_list(
        "pk", "kind", "severity", "opened_at", "decided_at", "opened_by", "repo", "repo__downloads", "content__digest"
    )
    return [
        (
            pk,
            Facts(
                severity=severity,
                waited=(decided_at or now) - opened_at,
                allowed=TIME_FOR.get(severity, TIME_FOR[1]),
                downloads=downloads,
                copies=copies[digest],
                descendants=descendants[repo],
                reporters=reporters[repo] if kind == Case.Kind.REPORT else 0,
                is_open=decided_at is None,
                is_report=kind == Case.Kind.REPORT,
                upheld=upheld[opener] if kind == Case.Kind.REPORT else 0,
                decided=decided[opener] if kind == Case.Kind.REPORT else 0,
            ),
        )
        for pk, kind, severity, opened_at, decided_at, opener, repo, downloads, digest in asked[:MAX_RANKED]
    ]


def count_copies(rows: QuerySet[Case]) -> "Counter[str]":
    """digest -> other repositories that hold it."""
    digests = rows.exclude(content=None).values("content__digest")
    held = Content.objects.filter(digest__in=digests, repo__deleted_at=None).order_by()
    counts = held.values("digest").annotate(n=Count("repo", distinct=True)).filter(n__gt=1)
    return Counter({digest: n - 1 for digest, n in counts.values_list("digest", "n")})


def count_descendants(rows: QuerySet[Case]) -> "Counter[int]":
    """repository -> other models whose releases were made of something in it."""
    made = ReleaseBasis.objects.filter(repo__in=rows.values("repo"), release__state__in=SHOWN).order_by()
    made = made.filter(release__repo__deleted_at=None).exclude(release__repo=F("repo"))
    counts = made.values("repo").annotate(n=Count("release__repo", distinct=True))
    return Counter(dict(counts.values_list("repo", "n")))


def count_reporters(rows: QuerySet[Case]) -> "Counter[int]":
    """repository -> different people whose reports about it are open."""
    reports = Case.objects.filter(kind=Case.Kind.REPORT, state=Case.State.OPEN, repo__in=rows.values("repo")).order_by()
    counts = reports.values("repo").annotate(n=Count("opened_by", distinct=True))
    return Counter(dict(counts.values_list("repo", "n")))


def count_reports(rows: QuerySet[Case]) -> tuple["Counter[int | None]", "Counter[int | None]"]:
    """person -> their reports that a person upheld, and all that one decided. The decision about an appeal stands for the
    first one. What the hub closed by itself counts for nobody."""
    reporters = rows.filter(kind=Case.Kind.REPORT, opened_by__isnull=False).values("opened_by")
    reports = Case.objects.filter(kind=Case.Kind.REPORT, decided_by__isnull=False).exclude(state=Case.State.OPEN)
    asked = reports.filter(opened_by__in=reporters).order_by("-pk")
    found = list(asked.values_list("pk", "opened_by", "state", "subject__appeal_of")[:MAX_RANKED])
    first = [pk for pk, _, _, appealed in found if not appealed]
    appeals = reports.filter(subject__appeal_of__in=first).order_by("pk") if first else reports.none()
    again = dict(appeals.values_list("subject__appeal_of", "state"))
    upheld: Counter[int | None] = Counter()
    decided: Counter[int | None] = Counter()
    for pk, opener, state, appealed in found:
        if not appealed:
            decided[opener] += 1
            upheld[opener] += again.get(pk, state) in ACCEPTED
    return upheld, decided
