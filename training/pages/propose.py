"""The wizard: from "what should it learn?" to a proposal, in steps that are plain pages with their state in the address."""

from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from hub.accounts.names import find_owner
from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput
from hub.repos.find import find_repo
from hub.repos.lifecycle import create_repo, owner_for
from hub.repos.models import LastCommit, Repo
from hub.repos.reader import RepoReader
from hub.web.listings import cut_numbered_page, filter_repos, listed_repos, read_filters
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from hub.web.repos import list_owners
from training.drafting import drafts, end_marks, estimates, wizard
from training.drafting.choices import data_for
from training.drafting.drafts import Draft
from training.drafting.starts import Start, find_start
from training.proposals import recipes

PER_PAGE = 12
TITLES = {
    "goal": "What should it learn to do?",
    "data": "From which data?",
    "preview": "What it will see",
    "size": "How thoroughly?",
    "send": "Propose it",
}


COLUMNS = {"chat": ("question", "answer"), "text": ("text",), "classification": ("text", "label"),
           "preference": ("question", "chosen", "rejected")}  # fmt: skip
NO_DATA = "Tick at least one dataset: the model learns from what you choose."


@repo_page(action="read")
def show_wizard(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    require_sign_in(request)
    draft = drafts.read_draft(request.POST if request.method == "POST" else request.GET)
    asked = request.GET.get("step", "goal")
    step = allowed_step(asked, draft)
    try:
        start = find_start(repo, reader, request.user, draft.base)
    except InvalidInput as problem:
        with_weights = LastCommit.objects.filter(path="config.json").values("repo")
        models = listed_repos(request.user).filter(type="model", pk__in=with_weights).exclude(pk=repo.pk)[:24]
        context: dict[str, Any] = {"problem": problem.message, "models": models}
        return render_repo_page(request, repo, reader, "training/propose_stuck.html", tab="/proposals", **context)
    refusal = NO_DATA if step == "data" and asked != "data" else ""
    if request.method == "POST" and request.POST.get("act") == "end-mark":
        try:
            end_marks.name_end_mark(start, request.user)
            return HttpResponseRedirect(f"{repo.path}/propose{draft.address('preview')}")
        except HubError as problem:
            refusal = problem.message
    elif request.method == "POST":
        step = "send"
        try:
            return send(request, repo, draft, start)
        except HubError as problem:
            refusal = problem.message
    if step in ("size", "send") and not find_look(request, draft, start).is_good:
        step = "preview"  # where it says what is wrong with the data
    return render_repo_page(
        request,
        repo,
        reader,
        f"training/propose_{step}.html",
        tab="/proposals",
        status=400 if refusal and request.method == "POST" else 200,
        draft=draft,
        step=step,
        heading=TITLES[step],
        steps=[{"name": name, "title": TITLES[name], "is_done": is_before(name, step)} for name in drafts.STEPS],
        problem=refusal,
        addresses={name: draft.address(name) for name in drafts.STEPS},
        start=start,
        **STEPS[step](request, repo, draft, start),
    )


def find_look(request: HttpRequest, draft: Draft, start: Start) -> wizard.Look:
    return wizard.look_at(draft, request.user, start)


def is_before(name: str, step: str) -> bool:
    return drafts.STEPS.index(name) < drafts.STEPS.index(step)


def allowed_step(step: str, draft: Draft) -> str:
    """The step that was asked for, or the first one whose answer is missing."""
    if step not in drafts.STEPS or not draft.goal:
        return "goal"
    if not draft.data and is_before("data", step):
        return "data"
    return step


def describe_goal(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> dict[str, Any]:
    return {"goals": drafts.GOALS}


def describe_data(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> dict[str, Any]:
    """Datasets to choose from, one's own first, and the first rows of the one that is looked at."""
    filters = read_filters(request)
    found = filter_repos(data_for(request.user), filters)
    mine = Q(owner_user=request.user) | Q(owner_organization__memberships__user=request.user)
    own = found.filter(mine).distinct()
    looked = request.GET.get("look", "")
    goal = drafts.goal_of(draft)
    page = cut_numbered_page(request, found.exclude(pk__in=own.order_by().values("pk")), PER_PAGE)
    listed = {repo.full_name for repo in [*own[:PER_PAGE], *page.object_list]}
    return {
        "goal": goal,
        "filters": filters,
        "own": own[:PER_PAGE],
        "page": page,
        "kept": [name for name in draft.data if name not in listed],
        "look": wizard.look_at_one(looked, draft, request.user, None) if looked else None,
        "known": {row.repo.repo for row in start.recipe.contributions} if start.recipe else set(),
    }


def describe_preview(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> dict[str, Any]:
    look = find_look(request, draft, start)
    columns = sorted({name for row in look.rows for name in row.preview.columns})
    asked = {
        role: [name for known, name in draft.columns if known == role] for role in COLUMNS[drafts.goal_of(draft).format]
    }
    return {"goal": drafts.goal_of(draft), "look": look, "columns": columns[:60], "asked_columns": asked}


def describe_size(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> dict[str, Any]:
    look = find_look(request, draft, start)
    found = estimates.estimate(repo, start, look.tokens, is_paired=is_paired(draft))
    return {"look": look, "estimates": found, "fit": estimates.fit_memory(start, is_paired=is_paired(draft))}


def is_paired(draft: Draft) -> bool:
    return drafts.goal_of(draft).format == "preference"


def describe_send(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> dict[str, Any]:
    look = find_look(request, draft, start)
    chosen = {row.suite.repo for row in wizard.choose_suites(draft, start, request.user)}
    return {
        "look": look,
        "estimate": next(
            row
            for row in estimates.estimate(repo, start, look.tokens, is_paired=is_paired(draft))
            if row.size.name == draft.size
        ),
        "recipe": wizard.compose(draft, start, look, request.user),
        "suites": wizard.list_suites(request.user),
        "chosen": chosen,
        "title": draft.title or propose_title(draft),
        "starts_by_itself": can(request.user, "run", repo),
        "goal": drafts.goal_of(draft),
    }


def propose_title(draft: Draft) -> str:
    names = [name.rpartition("/")[2] for name in draft.data]
    return f"Learn from {', '.join(names)}"[:200]


STEPS = {
    "goal": describe_goal,
    "data": describe_data,
    "preview": describe_preview,
    "size": describe_size,
    "send": describe_send,
}


def send(request: HttpRequest, repo: Repo, draft: Draft, start: Start) -> HttpResponse:
    """Open the proposal. Raises the refusal of the rooms below."""
    if not draft.goal or not draft.data:
        raise InvalidInput("Choose a goal and some data first.")
    look = find_look(request, draft, start)
    if look.refusal:
        raise InvalidInput(look.refusal)
    made = recipes.propose(
        repo=repo,
        by=request.user,  # type: ignore[arg-type]
        recipe_text=wizard.compose(draft, start, look, request.user),
        title=draft.title or propose_title(draft),
        description=draft.text,
        door="browser",
    )
    assert made.pull_request is not None
    return HttpResponseRedirect(made.pull_request.discussion.path)


def choose_target(request: HttpRequest) -> HttpResponse:
    """For the whole site: which model to start from, and whether the result goes into it or into one's own."""
    require_sign_in(request)
    base = find_repo("model", request.GET["base"], request.user) if request.GET.get("base") else None
    problem = ""
    if request.method == "POST":
        try:
            return HttpResponseRedirect(make_target(request))
        except HubError as refused:
            problem = refused.message
            base = find_repo("model", request.POST.get("base", ""), request.user)
    filters = read_filters(request)
    rows = filter_repos(listed_repos(request.user).filter(type="model"), filters)
    context = {
        "base": base,
        "problem": problem,
        "owners": list_owners(request.user),  # type: ignore[arg-type]
        "name": request.POST.get("name", f"{base.name}-mine" if base else ""),
        "page": cut_numbered_page(request, rows, PER_PAGE),
        "filters": filters,
        "may_write": base is not None and can(request.user, "write", base),
    }
    return render(request, "training/choose_target.html", context, status=400 if problem else 200)


def make_target(request: HttpRequest) -> str:
    """The address of the wizard of a new model repository that starts from the base."""
    base = find_repo("model", request.POST.get("base", ""), request.user)
    name = request.POST.get("name", "").strip()
    owner = request.POST.get("owner", "")
    if owner:
        find_owner(owner)
    by: Any = request.user
    repo = create_repo(
        type="model",
        name=name,
        by=by,
        owner=owner_for(owner, by),
        description=f"A model that started as {base.full_name}.",
    )
    return f"{repo.path}/propose{Draft(base=base.full_name).address('goal')}"
