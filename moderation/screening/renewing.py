"""Data that older screens cleared is looked at again: what they did not know to look for must not stay hidden behind their word."""

from django.core.cache import cache
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from hub.common.models import Job
from hub.repos.models import Revision
from moderation.models import Screening
from moderation.screening.screening import AGAIN, MOST_FAILURES, SCREEN_KIND, enqueue_full
from moderation.screens import SCREENS_VERSION

MOST_WAITING = 50  # jobs at a time: a worker takes those of new commits in between


DONE, DONE_FOR_S = f"screened-by:{SCREENS_VERSION}", 86400  # nothing old was left: not asked again for a day


def screen_again(*, most: int = MOST_WAITING) -> int:
    """Enqueue full screenings of commits that only older screens judged, the newest first. Returns how many."""
    if cache.get(DONE):
        return 0
    living = Job.objects.filter(kind=SCREEN_KIND).exclude(state__in=Job.ENDED)
    busy = {job.payload.get("revision_id") for job in living}
    room = most - living.filter(subject=AGAIN).count()
    rows = find_outdated().exclude(pk__in=busy).order_by("-pk")[:room] if room > 0 else []
    for revision in rows:
        enqueue_full(revision, subject=AGAIN)
    if room == most and not rows:
        cache.set(DONE, True, DONE_FOR_S)
    return len(rows)


def find_outdated() -> QuerySet[Revision]:
    """Commits with a finished full screening and none by the screens of today. What failed too often counts as one: a person
    looks (give_up)."""
    full = Screening.objects.filter(
        subject=Screening.Subject.DATA, is_quick=False, finished_at__isnull=False, repo=OuterRef("repo")
    ).filter(commit=OuterRef("commit"))
    of_today = full.filter(report__screens_version=SCREENS_VERSION)
    failed = (
        of_today.filter(state=Screening.State.FAILED).order_by().values("commit").annotate(n=Count("pk")).values("n")
    )
    older = full.filter(Q(report__screens_version__isnull=True) | Q(report__screens_version__lt=SCREENS_VERSION))
    rows = Revision.objects.filter(Exists(older), ~Exists(of_today.exclude(state=Screening.State.FAILED)))
    return rows.annotate(failed=Coalesce(Subquery(failed), 0)).filter(failed__lt=MOST_FAILURES).select_related("repo")
