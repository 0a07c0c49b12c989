"""Who may spend: how long a training may take, and at whose cost it starts by itself."""

from django.conf import settings
from django.utils import timezone

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.common.errors import Conflict
from hub.common.models import Job
from hub.community.candidates import people_behind
from hub.community.models import PullRequest
from training.models import LedgerEntry, Run

TRAIN_BUDGET_S = 6 * 3600
CHARGED = ("training.train", "training.replay")  # kinds of jobs that somebody's time is spent on
PREPARE = "training.prepare"
LEAST_TRAIN_S = 60  # of the free budget: with less no training is begun


def starts_by_itself(pull_request: PullRequest) -> bool:
    """Training starts unasked for people with write access, and for others within the free budget of the hub."""
    author = pull_request.discussion.author
    if author is None or people_behind(pull_request) != {author.pk}:
        return False  # what others pushed is not run at the author's cost unasked
    return can(author, "run", pull_request.discussion.repo) or free_budget_s(author) > 0


def free_budget_s(user: User) -> int:
    """Seconds of today's free training that are left; 0 where they are too few to begin with.

    A training that waits or runs counts with all that it may take, and with what it took once it has ended."""
    if not settings.FREE_TRAIN_BUDGET_S:
        return 0
    User.objects.select_for_update().get(pk=user.pk)  # two proposals of one person at once share one budget
    living = Job.objects.filter(kind__in=CHARGED, charged_to=user).exclude(state__in=Job.ENDED)
    taken = spent_today_s(user) + sum(living.values_list("budget_s", flat=True))
    left = int(settings.FREE_TRAIN_BUDGET_S - taken)
    return left if left >= min(LEAST_TRAIN_S, settings.FREE_TRAIN_BUDGET_S) else 0


def spent_today_s(user: User) -> float:
    day = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return sum(LedgerEntry.objects.filter(user=user, at__gte=day).values_list("seconds", flat=True))


def train_budget_s(run: Run) -> int:
    """What the training of a run that was let start may take at most; 0 when its free budget went to another meanwhile."""
    payer = run.approved_by
    if payer is None or can(payer, "run", run.repo):
        return TRAIN_BUDGET_S
    return min(TRAIN_BUDGET_S, free_budget_s(payer))


def has_enough_under_way(user: User) -> bool:
    """Whether as many trainings of this person wait or run as may at once: whoever proposes in a repository of their own has
    a budget there, and could fill the queue for everybody."""
    if not settings.TRAININGS_AT_ONCE or user.is_staff:
        return False
    User.objects.select_for_update().get(pk=user.pk)  # two that are prepared at once are counted one by one
    living = Job.objects.filter(kind__in=CHARGED, charged_to=user).exclude(state__in=Job.ENDED)
    return living.count() >= settings.TRAININGS_AT_ONCE


def refuse_more_preparing(user: User) -> None:
    """Before the data of one more proposal of this person is prepared: that is on the house, so its number is what bounds
    it. What is being cancelled does not count. Raises Conflict."""
    most = settings.PREPARATIONS_AT_ONCE
    if not most or user.is_staff:
        return
    User.objects.select_for_update().get(pk=user.pk)  # two that are proposed at once are counted one by one
    living = Job.objects.filter(kind=PREPARE, charged_to=user, cancel_requested=False).exclude(state__in=Job.ENDED)
    if (under_way := living.count()) >= most:
        proposals = "1 proposal" if under_way == 1 else f"{under_way} proposals"
        raise Conflict(
            f"The data of {proposals} by {user} is being prepared or waits for it, and at most {most} may at once; press "
            "'Run again' when one is through, or close a proposal that is no longer wanted."
        )


def refuse_more(user: User) -> None:
    """Before a training that somebody asks for by hand. Raises Conflict."""
    if has_enough_under_way(user):
        raise Conflict(f"{trainings_at_once()} of yours already under way; start it when one has ended.")


def trainings_at_once() -> str:
    most = settings.TRAININGS_AT_ONCE
    return "1 training" if most == 1 else f"{most} trainings"
