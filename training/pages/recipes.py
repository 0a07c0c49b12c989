"""The raw recipe, for people who know what they want: checked with line and column, then proposed."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.common.errors import EntryNotFound, HubError, RevisionNotFound
from hub.common.paging import read_number
from hub.community.pull_requests import find_pull_request
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from training.engine.errors import EngineError, RecipeErrors
from training.engine.recipe import describe_schema, parse_recipe
from training.pages.runs import find_run
from training.proposals import clones, joins, recipes, suite_checks

START = """\
version: 1
base: NAMESPACE/MODEL@main
contributions:
  - data: NAMESPACE/DATASET@main
    format: chat
train:
  method: lora
  epochs: 1
evaluate:
  - suite: NAMESPACE/SUITE@main
"""


@dataclass(frozen=True)
class Line:
    """A line of the recipe with what is wrong in it."""

    number: int
    text: str
    problems: list[str]


@repo_page()
def edit_recipe(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    text = read_text(request, reader)
    problem, lines = "", []
    is_checked = request.method == "POST"
    if is_checked:
        try:
            if request.POST.get("act") == "propose":
                return send(request, repo, text)
            recipe = recipes.read_recipe(text)
            suite_checks.check_suites(recipe, recipes.pin(recipe, request.user))  # type: ignore[arg-type]
        except HubError as refused:
            problem, lines = refused.message, mark_lines(text)
    return render_repo_page(
        request,
        repo,
        reader,
        "training/recipe_editor.html",
        tab="/proposals",
        status=400 if problem else 200,
        text=text,
        problem=problem,
        lines=lines,
        is_good=is_checked and not problem,
        title=request.POST.get("title", ""),
        description=request.POST.get("text", ""),
        schema=describe_schema(),
    )


def read_text(request: HttpRequest, reader: RepoReader) -> str:
    if "recipe" in request.POST:
        return request.POST["recipe"].replace("\r\n", "\n")
    if number := read_number(request.GET.get("run", "")):  # do a run again, with or without changes
        return clones.recipe_of(find_run(request, number))
    if request.GET.get("recipe"):
        return request.GET["recipe"].replace("\r\n", "\n")
    try:
        return reader.read_text(reader.resolve(None), recipes.RECIPE, limit=recipes.MAX_RECIPE_BYTES)
    except (EntryNotFound, RevisionNotFound):
        return START


def mark_lines(text: str) -> list[Line]:
    """The recipe line by line with its problems beside them; nothing when the file itself is in order."""
    problems: dict[int, list[str]] = {}
    try:
        parse_recipe(text)
    except RecipeErrors as refused:
        for item in refused.problems:
            problems.setdefault(item.line, []).append(f"column {item.column}: {item.what}; {item.hint}")
    except EngineError:  # what is no YAML at all was refused as a whole
        return []
    if not problems:
        return []
    return [Line(number, line, problems.get(number, [])) for number, line in enumerate(text.split("\n"), start=1)]


def send(request: HttpRequest, repo: Repo, text: str) -> HttpResponse:
    title = request.POST.get("title", "").strip() or "Change how this model is made"
    user: Any = request.user
    made = recipes.propose(
        repo=repo, by=user, recipe_text=text, title=title, description=request.POST.get("text", ""), door="browser"
    )
    assert made.pull_request is not None
    return HttpResponseRedirect(made.pull_request.discussion.path)


@require_POST
@repo_page()
def take_over(request: HttpRequest, repo: Repo, reader: RepoReader, number: int) -> HttpResponse:
    """Mend a recipe that clashes with its target's, by one press."""
    user = require_sign_in(request)
    pull_request = find_pull_request(repo, number, user)
    try:
        joins.take_over(pull_request=pull_request, by=user)
    except HubError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, f"It has the settings of {pull_request.target} now; its checks run again.")
    return HttpResponseRedirect(pull_request.discussion.path)
