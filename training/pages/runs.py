"""Pages of runs: one run as it happens, the runs of a repository, the jobs of a person, and what one may do with them."""

import hashlib
import re
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError, NotFound
from hub.common.models import Job
from hub.common.paging import read_number
from hub.common.tickets import make_ticket
from hub.community.models import Check
from hub.community.pull_requests import find_pull_request
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.listings import cut_numbered_page
from hub.web.live import CLOCKS
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in
from training.models import Run
from training.running import audience, comparisons, overview, records, replays, reruns, runs

PER_PAGE = 25
LINES_PER_PAGE = 500
ACTS = {"run": runs.start_run, "cancel": runs.cancel_run, "rerun": runs.rerun}
TONES = {"succeeded": ("good", "passed"), "failed": ("danger", "failed"), "cancelled": ("warn", "cancelled"),
         "held": ("warn", "held")}  # fmt: skip
DONE = {"run": "It starts as soon as a worker is free.", "cancel": "It is being stopped.", "rerun": "It starts again."}


def find_run(request: HttpRequest, pk: int) -> Run:
    """The run, if its repository and what it was made from may be read."""
    run = overview.visible_runs(request.user).filter(pk=pk).first()
    if run is None or not audience.may_see(request.user, run):
        raise NotFound("There is no such run here, or its recipe is not cleared yet.")
    return run


def show_run(request: HttpRequest, pk: int) -> HttpResponse:
    run = find_run(request, pk)
    lock = overview.read_lock_of(run)
    sampling = overview.newest_sampling(run)
    context = {
        "run": run,
        "repo": run.repo,
        "fragment": describe_fragment(request, run),
        "inputs": overview.list_inputs(lock, request.user),
        "recipe": lock.recipe if lock else "",
        "resolved": sorted(lock.resolved.items()) if lock else [],
        "device": lock.device if lock else "",
        "confinement": records.read_confinement(run),
        "sampling": sampling,
        "may_see_answers": overview.may_see_answers(request.user, run),
        "bill": overview.read_bill(run),
        "may_propose": can(request.user, "propose", run.repo),
        "before": find_run_before(request, run),
        "replay": replays.newest_compared(run),
        "may_replay": run.state == Run.State.SUCCEEDED and replays.may_replay(request.user, run),
    }
    return render(request, "training/run.html", context)


def find_run_before(request: HttpRequest, run: Run) -> Run | None:
    """The newest earlier run of the repository, to compare with, if this person may see it."""
    before = overview.visible_runs(request.user).filter(repo=run.repo, pk__lt=run.pk).first()
    return before if before and audience.may_see(request.user, before) else None


def show_log(request: HttpRequest, pk: int) -> HttpResponse:
    """The record of a run, or its lines with certain words; the newest page first, each leads to the one before it."""
    run = find_run(request, pk)
    words = request.GET.get("q", "")[:200]
    before = read_number(request.GET.get("before", "")) or 0
    page = records.search_log(run, words, before=before, most=LINES_PER_PAGE)
    query = f"{urlencode({'q': words})}&" if words else ""
    context = {"run": run, "page": page, "words": words, "query": query, "is_newest": not before}
    return render(request, "training/run_log.html", context)


def compare_runs(request: HttpRequest) -> HttpResponse:
    """`?run=3&run=5`: up to four runs side by side."""
    chosen = [find_run(request, pk) for pk in comparisons.read_choice(request.GET.getlist("run"))]
    found = comparisons.compare(chosen)
    context = {"comparison": found, "curves": label(found.curves), "held_out": label(found.held_out)}
    return render(request, "training/compare.html", context)


def label(curves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A plot writes the last value behind the name: "run 3: 2.25"."""
    return [{**curve, "name": f"{curve['name']}:"} for curve in curves]


def show_state(request: HttpRequest, pk: int) -> HttpResponse:
    """The moving part of a run's page; 204 while it is what `?seen=` says."""
    fragment = describe_fragment(request, find_run(request, pk))
    if fragment["digest"] == request.GET.get("seen"):
        return HttpResponse(status=204)
    return HttpResponse(render_to_string("training/run_live.html", {"fragment": fragment}, request=request))


def describe_fragment(request: HttpRequest, run: Run) -> dict[str, Any]:
    """{"html", "digest", "run", "job", "ticket", "listener", "after", "pace_s"}: the drawn state, and how to follow it."""
    stations = overview.list_stations(run)
    now = overview.describe_now(stations)
    log = records.read_log(run)
    may_see_answers = overview.may_see_answers(request.user, run)
    context = {
        "run": run,
        "stations": stations,
        "verdict": describe_verdict(run, stations, is_moving=now is not None),
        "now": now,
        "curve": records.read_curve(run),
        "samples": records.read_samples(run) if may_see_answers else [],
        "log": log,
        "evaluations": overview.describe_evaluations(run),
        "dropped": overview.read_dropped(run),
        "warnings": records.read_warnings(run),
        "checkpoints": overview.list_checkpoints(run),
        **list_acts(request.user, run),
    }
    html = render_to_string("training/run_state.html", context, request=request)
    unclocked = CLOCKS.sub(r"\1\2", re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", html))
    return {
        "html": mark_safe(html),  # noqa: S308  drawn by our own template just above
        "digest": hashlib.sha256(unclocked.encode()).hexdigest()[:16],
        "run": run.pk,
        "job": now.job.pk if now else "",
        # The listener streams every event, answers included: without a ticket the page asks for what it may have.
        "ticket": make_ticket(now.job.pk) if now and may_see_answers else "",
        "listener": listener_address(request),
        "after": log[-1]["id"] if log else 0,
    }


def describe_verdict(run: Run, stations: list[overview.Station], *, is_moving: bool) -> dict[str, str]:
    """{"tone", "icon", "title"}: the first thing that the page of a run says."""
    tone, icon = TONES.get(run.state, ("info", "running"))
    title = run.get_state_display()
    if run.is_superseded:
        title = f"Out of date: {overview.why_out_of_date(run)}"
    elif run.state == Run.State.SUCCEEDED:
        states = {station.state for station in stations}
        if is_moving:
            title = "Trained; now it is being judged"
        elif Check.State.FAILED in states:
            tone, icon, title = "warn", "warning", "Trained, but it did not pass every check"
        elif Check.State.HELD in states:
            tone, icon, title = "warn", "held", "Trained; a moderator decides about its answers"
        else:
            title = "Trained"
    return {"tone": tone, "icon": icon, "title": title}


def listener_address(request: HttpRequest) -> str:
    """Where the streaming listener is for this browser; "" when pages have to poll."""
    if not settings.LISTENER_URL.startswith(":"):
        return settings.LISTENER_URL
    host = request.get_host().rsplit(":", 1)[0] if not request.get_host().endswith("]") else request.get_host()
    return f"{request.scheme}://{host}{settings.LISTENER_URL}"


def list_acts(user: Any, run: Run) -> dict[str, bool]:
    """What this person may do with the run just now."""
    may_run = can(user, "run", run.repo)
    is_mine = run.proposed_by_id is not None and run.proposed_by_id == getattr(user, "pk", None)
    is_current = not run.is_superseded and run.pull_request is not None
    has_ended_badly = run.state in (Run.State.FAILED, Run.State.CANCELLED)
    living = run.state == Run.State.HELD or bool(runs.living_jobs(run))
    return {
        "may_start": is_current and may_run and run.state == Run.State.HELD,
        "may_cancel": living and (may_run or (is_mine and can(user, "propose", run.repo))),
        "may_rerun": is_current and has_ended_badly and (may_run or (is_mine and run.corpus_id is None)),
    }


@require_POST
def act_on_run(request: HttpRequest, pk: int, act: str) -> HttpResponse:
    require_sign_in(request)
    run = find_run(request, pk)
    try:
        ACTS[act](run=run, by=request.user)
    except HubError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, DONE[act])
    return HttpResponseRedirect(place_to_return(request, f"/runs/{run.pk}"))


@require_POST
@repo_page()
def rerun_check(request: HttpRequest, repo: Repo, reader: RepoReader, number: int, check: str) -> HttpResponse:
    require_sign_in(request)
    pull_request = find_pull_request(repo, number, request.user)
    try:
        reruns.rerun_check(pull_request=pull_request, name=check, by=request.user)
    except HubError as problem:
        messages.error(request, problem.message)
    else:
        messages.success(request, f"The check '{check}' runs again.")
    return HttpResponseRedirect(pull_request.discussion.path)


def place_to_return(request: HttpRequest, usual: str) -> str:
    """A path of this site that the form named, else the usual one."""
    wanted = request.POST.get("next", "")
    return wanted if re.fullmatch(r"/[A-Za-z0-9_.\-/]+", wanted) and not wanted.startswith("//") else usual


@repo_page()
def list_repo_runs(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    page = cut_numbered_page(request, overview.visible_runs(request.user).filter(repo=repo), PER_PAGE)
    audience.veil(request.user, page.object_list)
    return render_repo_page(
        request, repo, reader, "training/repo_runs.html", tab="/runs", page=page, may_compare=page.paginator.count > 1
    )


def list_jobs(request: HttpRequest) -> HttpResponse:
    """The runs that a person proposed or pays for; operators also see every job that is not over."""
    require_sign_in(request)
    user: Any = request.user
    mine = overview.visible_runs(user).filter(proposed_by=user) | overview.visible_runs(user).filter(approved_by=user)
    context: dict[str, Any] = {"page": cut_numbered_page(request, mine.distinct(), PER_PAGE)}
    if can(user, "operate"):
        jobs = Job.objects.exclude(state__in=Job.ENDED).select_related("charged_to").order_by("queue", "created_at")
        context["jobs"] = jobs[:200]
        context["failed"] = Job.objects.filter(state=Job.State.FAILED).order_by("-finished_at")[:20]
    return render(request, "training/jobs.html", context)
