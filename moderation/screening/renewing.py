"""Data that older screens cleared is looked at again: what they did not know to look for must not stay hidden behind their word."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from hub.common.models import Job
from hub.repos.models import Revision
from moderation.models import Screening
from moderation.screening.screening import SCREEN_KIND, enqueue_full
from moderation.screens import SCREENS_VERSION

AGAIN = "again"  # subject of these jobs, which tells them from those of new commits
MOST_WAITING = 50  # jobs at a time: a worker takes those of new commits in between


def screen_again(*, most: int = MOST_WAITING) -> int:
    """Enqueue full screenings of commits that only older screens judged, the newest first. Returns how many."""
    living = Job.objects.filter(kind=SCREEN_KIND).exclude(state__in=Job.ENDED)
    busy = {job.payload.get("revision_id") for job in living}
    room = most - living.filter(subject=AGAIN).count()
    rows = find_outdated().exclude(pk__in=busy).order_by("-pk")[:room] if room > 0 else []
    for revision in rows:
        enqueue_full(revision, subject=AGAIN)
    return len(rows)


def find_outdated() -> QuerySet[Revision]:
    """Commits with a finished full screening and none by the screens of today. One that failed counts: a person looks."""
    full = Screening.objects.filter(
        subject=Screening.Subject.DATA, is_quick=False, finished_at__isnull=False, repo=OuterRef("repo")
    ).filter(commit=OuterRef("commit"))
    of_today = full.filter(report__screens_version=SCREENS_VERSION)
    older = full.filter(Q(report__screens_version__isnull=True) | Q(report__screens_version__lt=SCREENS_VERSION))
    return Revision.objects.filter(Exists(older), ~Exists(of_today)).select_related("repo")
