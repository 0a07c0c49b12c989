"""Contested entries of leaderboards: a reason opens a discussion, and until that is closed the entry says so."""

from typing import Any

from django.db import transaction

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.common.errors import Conflict, Forbidden, InvalidInput, NotFound
from hub.community.discussions import create_discussion
from hub.community.leaderboards import rows_of
from hub.community.listeners import owners_of, tell_readers
from hub.community.models import Discussion
from hub.community.social_models import Dispute, EvalResult
from hub.repos.models import Repo

MAX_OPEN = 10  # disputes of one person that nobody has settled
MAX_REASON_CHARACTERS = 5_000


@transaction.atomic
def contest(*, dataset: Repo, by: User, model: str, task: str, reason: str) -> Discussion:
    """Contest what `model` (NAMESPACE/NAME) says of itself on a task. The discussion stands in the suite's repository; that
    of a private model in its own, where nobody learns of it who may not.

    Raises NotFound, InvalidInput, Forbidden, and Conflict when it is contested already."""
    require(by, "discuss", dataset)
    row = find_entry(dataset, by, model, task)
    reason = reason.strip()
    if not reason:
        raise InvalidInput("Say in a sentence why this entry is wrong, and how one can see that.")
    if len(reason) > MAX_REASON_CHARACTERS:
        raise InvalidInput(f"A reason has at most {MAX_REASON_CHARACTERS:,} characters; shorten it.")
    Repo.objects.select_for_update().get(pk=dataset.pk)  # two people at once
    known = open_disputes(dataset).get((row.repo_id, row.task))
    if known is not None:
        raise Conflict(f"This entry is contested already in {known}; go on there.")
    if Dispute.objects.filter(discussion__author=by, discussion__status=Discussion.Status.OPEN).count() >= MAX_OPEN:
        raise Forbidden(f"You contest {MAX_OPEN} entries already; wait until some of them are settled.")
    place = row.repo if row.repo.is_private else dataset
    text = (
        f"{row.repo.full_name} says {row.value:g} on [{dataset.full_name}]({dataset.path}/leaderboard), task `{row.task}`, in "
        f"`{row.filename}` at `{row.commit[:7]}`.\n\n{reason}"
    )
    title = f"Contested: {row.value:g} of {row.repo.full_name} on {row.task}"[:300]
    discussion = create_discussion(repo=place, by=by, title=title, text=text)
    Dispute.objects.create(dataset=dataset, model=row.repo, task=row.task, value=row.value, discussion=discussion)
    news = f"{by} contests {row.value:g} of {row.repo.full_name} on {dataset.full_name}"
    tell_readers(discussion, owners_of(row.repo), news, actor=by)
    return discussion


def find_entry(dataset: Repo, user: Any, model: str, task: str) -> EvalResult:
    """One that this person sees on the leaderboard. Raises NotFound."""
    for row in rows_of(dataset, user):
        if row.task == task and row.repo.full_name.lower() == model.lower():
            return row
    raise NotFound(f"There is no entry of {model[:200]} on the task {task[:100]!r} of {dataset.full_name}.")


def open_disputes(dataset: Repo) -> dict[tuple[int, str], Discussion]:
    """(key of the model, task) -> the discussion that is open. One query."""
    rows = Dispute.objects.filter(dataset=dataset, discussion__status=Discussion.Status.OPEN)
    rows = rows.select_related("discussion__repo__owner_user", "discussion__repo__owner_organization").order_by("pk")
    return {(row.model_id, row.task): row.discussion for row in rows}


def shown_disputes(dataset: Repo, user: Any) -> dict[tuple[int, str], Discussion]:
    """Those whose discussion this person may open."""
    found = open_disputes(dataset)
    return {key: row for key, row in found.items() if row.repo_id == dataset.pk or can(user, "read", row.repo)}
