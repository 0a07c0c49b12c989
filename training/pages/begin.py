"""A new model from nothing, on one page: the network, its data and what both take; the address keeps what was chosen."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput, RepoNotFound, RevisionNotFound
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from training.drafting import beginnings
from training.drafting.beginnings import Beginning, in_words
from training.engine.networks import NETWORKS
from training.proposals import recipes

OCCUPIED = ("config.json", "recipe.yaml")


@repo_page()
def show_beginning(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    beginning = beginnings.read_beginning(request.POST if request.method == "POST" else request.GET)
    problem, recipe = refuse_occupied(repo, reader), ""
    context: dict[str, Any] = {"is_occupied": bool(problem)}
    if not problem:
        try:
            if request.method == "POST":
                return send(request, repo, beginning)
            # Whoever pressed the button hears also that nothing is ticked.
            is_asked = bool(beginning.data) or "length" in request.GET
            recipe = beginnings.compose(beginning, request.user) if is_asked else ""
        except HubError as refused:
            problem = refused.message
        context |= describe(request, beginning, is_looked_at=bool(recipe))
    return render_repo_page(
        request,
        repo,
        reader,
        "training/begin.html",
        tab="/proposals",
        status=400 if problem and request.method == "POST" else 200,
        beginning=beginning,
        problem=problem,
        recipe=recipe,
        starts_by_itself=can(request.user, "run", repo),
        **context,
    )


def refuse_occupied(repo: Repo, reader: RepoReader) -> str:
    """Why this repository cannot begin from nothing, or ""."""
    try:
        names = {entry.path for entry in reader.tree(reader.resolve(None))}
    except RevisionNotFound:
        return ""
    is_occupied = any(name in names for name in OCCUPIED)
    return f"{repo.full_name} has a model already; propose to improve it, or make a new model." if is_occupied else ""


def describe(request: HttpRequest, beginning: Beginning, *, is_looked_at: bool) -> dict[str, Any]:
    texts = beginnings.look_at_texts(beginning, request.user) if is_looked_at else None
    tokens = texts.tokens if texts else 0
    sizes = [Beginning(beginning.family, size) for size in NETWORKS[beginning.family].sizes]
    try:
        datasets = beginnings.list_datasets(request.user, beginning)
    except RepoNotFound:
        datasets = beginnings.list_datasets(request.user, Beginning())
    return {
        "families": [(name, network.title) for name, network in NETWORKS.items()],
        "sizes": [beginnings.cost_of(size) for size in sizes],
        "texts": texts,
        "tokens": tokens,
        "cost": beginnings.cost_of(beginning, tokens),
        "advice": beginnings.advise(beginning),
        "warning": beginnings.warn_of_little(beginning, tokens),
        "datasets": datasets,
    }


def send(request: HttpRequest, repo: Repo, beginning: Beginning) -> HttpResponse:
    """Open the proposal. Raises the refusal of the rooms below."""
    title = beginning.title or f"Begin as {NETWORKS[beginning.family].title} of {in_words(beginning.size)} parameters"
    made = recipes.propose(
        repo=repo,
        by=request.user,  # type: ignore[arg-type]
        recipe_text=beginnings.compose(beginning, request.user),
        title=title[:300],
        door="browser",
    )
    if made.pull_request is None:
        raise InvalidInput("Nothing changed.")
    return HttpResponseRedirect(made.pull_request.discussion.path)
