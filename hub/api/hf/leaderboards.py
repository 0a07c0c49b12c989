"""The leaderboard of a dataset, and what a model says of itself, as the stock client reads them."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.models import Organization
from hub.api.addresses import base_url
from hub.api.hf.endpoints import answer, endpoint, flag_of, with_repo
from hub.common.errors import NotFound
from hub.community.eval_results import Result
from hub.community.leaderboards import Place, make_boards, measures_of, rows_of
from hub.repos.models import Repo


@with_repo()
def show_board(request: HttpRequest, repo: Repo) -> HttpResponse:
    """`?base_model=false` also lists models that were made from others; `?task_id=` names one of several tasks, else it
    is the one with most models."""
    rows = rows_of(repo, request.user)
    if not rows:
        raise NotFound(
            f"{repo.full_name} has no leaderboard: no model that you may read names it in .eval_results/*.yaml."
        )
    base_only = flag_of(request.GET.get("base_model", "true"))
    boards = make_boards(rows, base_only=base_only, measures=measures_of(repo, rows))
    task = request.GET.get("task_id") or next(iter(boards), "")
    return answer([describe_place(request, place) for place in boards.get(task, [])])


def describe_place(request: HttpRequest, place: Place) -> dict[str, Any]:
    result = place.result
    item: dict[str, Any] = {
        "rank": place.rank,
        "modelId": place.repo.full_name,
        "value": result.value,
        "filename": result.filename,
        "verified": False,  # nobody but its authors says so
        "author": describe_author(place.repo),
        "taskId": result.task,
    }
    if result.source:
        is_external = not result.source["url"].startswith(base_url(request) + "/")
        item["source"] = {**result.source, "isExternal": is_external}
    if result.notes:
        item["notes"] = result.notes
    return item


def describe_author(repo: Repo) -> dict[str, str]:
    kind = "org" if isinstance(repo.owner, Organization) else "user"
    return {"type": kind, "name": repo.owner.name, "fullname": repo.owner.title, "avatarUrl": ""}


def describe_result(result: Result) -> dict[str, Any]:
    """A file with a fault is told as such; the client warns and goes on."""
    if result.problem:
        return {"filename": result.filename, "error": result.problem}
    return {"filename": result.filename, "verified": False, "data": result.data}


board = endpoint(GET=show_board)
