"""The leaderboard of a dataset: filters and order in the address, ties, how each value was measured, and what is contested."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.community.disputes import contest, shown_disputes
from hub.community.leaderboards import Place, make_boards, measures_of, rows_of, with_weights
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.listings import read_words
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in, site_address

SORTS = {"rank": "Best first", "name": "Name of the model"}
KINDS = {"": "All models", "base": "Base models only", "measured": "Measured here", "contested": "Contested"}


@dataclass(frozen=True)
class Filters:
    """What the address asks for."""

    words: str = ""
    task: str = ""
    kind: str = ""
    sort: str = "rank"

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.task or self.kind)

    @property
    def query(self) -> str:
        pairs = {
            "q": self.words,
            "task": self.task,
            "models": self.kind,
            "sort": self.sort if self.sort != "rank" else "",
        }
        return urlencode({key: value for key, value in pairs.items() if value})


@dataclass(frozen=True)
class Line:
    """A place as the page shows it."""

    place: Place
    command: str  # that measures it again; "" where the hub did not


def read_filters(request: HttpRequest) -> Filters:
    kind, sort = request.GET.get("models", ""), request.GET.get("sort", "rank")
    return Filters(
        words=read_words(request, "q")[:100].lower(),
        task=read_words(request, "task")[:100],
        kind=kind if kind in KINDS else "",
        sort=sort if sort in SORTS else "rank",
    )


@repo_page()
def show_leaderboard(
    request: HttpRequest, repo: Repo, reader: RepoReader, *, problem: str = "", status: int = 200
) -> HttpResponse:
    """All tasks with all models that this person may see."""
    filters = read_filters(request)
    rows = rows_of(repo, request.user)
    disputes = shown_disputes(repo, request.user) if rows else {}
    boards = make_boards(rows, base_only=filters.kind == "base", measures=measures_of(repo, rows), disputes=disputes)
    site = site_address(request)
    shown = [(task, choose_lines(places, filters, repo, site)) for task, places in boards.items()]
    return render_repo_page(
        request,
        repo,
        reader,
        "repos/leaderboard.html",
        tab="",
        status=status,
        boards=[(task, lines) for task, lines in shown if lines and filters.task in ("", task)],
        tasks=sorted({row.task for row in rows}),
        filters=filters,
        kinds=KINDS.items(),
        sorts=SORTS.items(),
        has_rows=bool(rows),
        with_weights=with_weights(rows) if rows else set(),
        may_contest=can(request.user, "discuss", repo),
        problem=problem,
        given=request.POST,
    )


def choose_lines(places: list[Place], filters: Filters, dataset: Repo, site: str) -> list[Line]:
    """Ranks are those among all models, also of a part of them."""
    chosen = [place for place in places if filters.words in place.repo.full_name.lower()]
    if filters.kind == "measured":
        chosen = [place for place in chosen if place.measure is not None]
    elif filters.kind == "contested":
        chosen = [place for place in chosen if place.dispute is not None]
    if filters.sort == "name":
        chosen.sort(key=lambda place: place.repo.full_name.lower())
    return [Line(place, write_command(place, dataset, site)) for place in chosen]


def write_command(place: Place, dataset: Repo, site: str) -> str:
    """What a person types, in a checkout of this project, to measure the same again."""
    if place.measure is None:
        return ""
    suite = f"{dataset.full_name} --repo-type dataset --revision {place.measure.suite_commit} --local-dir suite"
    model = f"{place.repo.full_name} --revision {place.measure.model_commit} --local-dir model"
    lines = ["cd PATH/OF/YOUR/CLONE", f"export HF_ENDPOINT={site}", f"hf download {suite}", f"hf download {model}"]
    command = ".venv/bin/python -m training.engine evaluate --suite suite --model model --out out"
    for number, judge in enumerate(place.measure.judges, start=1):
        name, _, commit = judge.partition("@")
        lines.append(f"hf download {name} --revision {commit} --local-dir judge{number}")
        command += f" --judge {judge}=judge{number}"
    lines.append(command)
    return "\n".join(lines)


@require_POST
def contest_entry(request: HttpRequest, **names: Any) -> HttpResponse:
    return open_contest(request, **names)


@repo_page()
def open_contest(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """POST model, task, reason: a discussion, which is shown at the entry until it is closed."""
    by = require_sign_in(request)
    given = {name: request.POST.get(name, "") for name in ("model", "task", "reason")}
    try:
        discussion = contest(dataset=repo, by=by, **given)
    except HubError as problem:
        if problem.status in (401, 404):
            raise
        where = {"type": repo.type, "namespace": repo.owner.name, "name": repo.name}
        return show_leaderboard(request, **where, problem=problem.message, status=problem.status)
    messages.success(
        request, "The entry says that it is contested until a maintainer or moderator closes this discussion."
    )
    return HttpResponseRedirect(discussion.path)
