"""The page of a run's replays: what one is, what came of each, and the button that asks for the next."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.web.repo_pages import require_sign_in
from training.models import Run
from training.pages.runs import find_run
from training.running import replays
from training.running.replay_verdicts import TOLERANCES


def show_replays(request: HttpRequest, pk: int) -> HttpResponse:
    run = find_run(request, pk)
    if request.method == "POST":
        return ask(request, run)
    return render_replays(request, run)


def ask(request: HttpRequest, run: Run) -> HttpResponse:
    require_sign_in(request)
    try:
        replays.ask(run=run, by=request.user)  # type: ignore[arg-type]
    except HubError as problem:
        if problem.status in (401, 404):
            raise
        return render_replays(request, run, problem=problem.message, status=problem.status)
    messages.success(request, "It is made again as soon as a worker is free.")
    return HttpResponseRedirect(f"/runs/{run.pk}/replays")


def render_replays(request: HttpRequest, run: Run, *, problem: str = "", status: int = 200) -> HttpResponse:
    context = {
        "run": run,
        "repo": run.repo,
        "rows": list(replays.replays_of(run)[: replays.MAX_SHOWN]),
        "tolerances": TOLERANCES,
        "may_replay": replays.may_replay(request.user, run),
        "is_payer": can(request.user, "run", run.repo),
        "why_not": replays.why_not_replay(run),
        "most_minutes": replays.budget_of(run) // 60,
        "problem": problem,
    }
    return render(request, "training/replays.html", context, status=status)
