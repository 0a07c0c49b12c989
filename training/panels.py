"""What training shows on pages of the hub: tabs of a model, the evidence of a proposal, buttons at its checks."""

from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.html import format_html

from hub.accounts.permissions import can
from hub.community.candidates import RECIPE, is_open
from hub.community.models import Check, PullRequest
from hub.community.pull_requests import may_push
from hub.repos.models import Repo, RepoRelease
from hub.web.panels import add_panel, add_tab
from hub.web.templatetags.hub_format import icon
from training.models import Run
from training.pages.runs import list_acts
from training.proposals.joins import may_take_over
from training.running import audience, overview, records
from training.running.reruns import AGAIN


def newest_run(pull_request: PullRequest) -> Run | None:
    """Looked up once for all the panels of a page."""
    if not hasattr(pull_request, "newest_run"):
        pull_request.newest_run = find_newest_run(pull_request)  # type: ignore[attr-defined]
    return pull_request.newest_run  # type: ignore[attr-defined,no-any-return]


def find_newest_run(pull_request: PullRequest) -> Run | None:
    rows = Run.objects.filter(pull_request=pull_request).select_related("repo", "corpus", "proposed_by", "approved_by")
    run = rows.order_by("is_superseded", "-pk").first()
    if run is not None:
        run.pull_request = pull_request  # its checks are loaded once
    return run


def show_evidence(request: HttpRequest, context: dict[str, Any]) -> str:
    """Under the checks: what the run does now, its curve, the comparison, the answers."""
    pull_request: PullRequest = context["pull_request"]
    run = newest_run(pull_request) if pull_request.is_trained else None
    if run is None or not audience.may_see(request.user, run):
        return ""
    may_see = overview.may_see_answers(request.user, run)
    return render_to_string(
        "training/evidence.html",
        {
            "run": run,
            "out_of_date": overview.why_out_of_date(run) if run.is_superseded else "",
            "now": overview.describe_now(overview.list_stations(run)) if not run.is_superseded else None,
            "curve": records.read_curve(run),
            "samples": records.read_samples(run) if may_see else [],
            "evaluations": overview.describe_evaluations(run),
            "dropped": overview.read_dropped(run),
            "sampling": overview.newest_sampling(run),
            "may_see_answers": may_see,
        },
        request=request,
    )


def link_evidence(request: HttpRequest, context: dict[str, Any]) -> str:
    """At a check: the run that it speaks of."""
    run = context["check"].evidence.get("run")
    place = {"prepare": "#corpus", "train": "#curve", "evaluate": "#evaluation", "screen": "#answers"}
    if not run or context["check"].name not in place:
        return ""
    return format_html('<a class="small" href="/runs/{}{}">Evidence</a>', run, place[context["check"].name])


def offer_acts(request: HttpRequest, context: dict[str, Any]) -> str:
    """At a check: run it, run it again, cancel it, for those who may."""
    check: Check = context["check"]
    pull_request: PullRequest = context["pull_request"]
    if check.name not in ("prepare", "train", "evaluate", "screen") or not is_open(pull_request):
        return ""
    discussion = context["discussion"]
    run = newest_run(pull_request)
    acts = list_acts(request.user, run) if run is not None else {}
    if check.name == "train" and acts.get("may_start") and run is not None:
        return post_button(request, f"/runs/{run.pk}/run", "play", "Run it", discussion.path, is_primary=True)
    if check.name == "prepare" and may_push(pull_request, request.user) and may_take_over(pull_request, request.user):
        address, words = f"{discussion.path}/take-over", f"Take over the settings of {pull_request.target}"
        return post_button(request, address, "merged", words, discussion.path, is_primary=True)
    if check.state == Check.State.FAILED and check.evidence.get("needs_push"):
        if not may_push(pull_request, request.user):
            return ""
        return format_html(
            '<a class="button button--small" href="{}/edit/{}/{}">{}Edit {}</a>',
            discussion.repo.path, pull_request.ref, RECIPE, icon("edit"), RECIPE,
        )  # fmt: skip
    if check.state in AGAIN and may_rerun(request.user, pull_request, run, check):
        return post_button(
            request, f"{discussion.path}/checks/{check.name}/rerun", "history", "Run again", discussion.path
        )
    if check.state == Check.State.RUNNING and acts.get("may_cancel") and run is not None:
        return post_button(request, f"/runs/{run.pk}/cancel", "cancelled", "Cancel", discussion.path)
    return ""


def may_rerun(user: Any, pull_request: PullRequest, run: Run | None, check: Check) -> bool:
    if can(user, "run", pull_request.discussion.repo):
        return True
    is_mine = pull_request.discussion.author_id == getattr(user, "pk", None) is not None
    is_free = run is None or run.is_superseded or run.corpus_id is None
    return is_mine and is_free and check.name == "prepare"


def post_button(
    request: HttpRequest, address: str, drawing: str, word: str, back: str, *, is_primary: bool = False
) -> str:
    return format_html(
        '<form action="{}" method="post"><input type="hidden" name="csrfmiddlewaretoken" value="{}">'
        '<input type="hidden" name="next" value="{}"><button class="button button--small{}">{}{}</button></form>',
        address, get_token(request), back, " button--primary" if is_primary else "", icon(drawing), word,
    )  # fmt: skip


def has_runs(request: HttpRequest, repo: Repo) -> bool:
    return repo.type == Repo.Type.MODEL and Run.objects.filter(repo=repo).exists()


def has_playground(request: HttpRequest, repo: Repo) -> bool:
    """Where somebody answers: for everybody after the first release, for members as soon as there are weights."""
    if repo.type != Repo.Type.MODEL:
        return False
    if repo.public_releases.filter(state=RepoRelease.State.PUBLISHED).exists():
        return True
    return bool(repo.head) and can(request.user, "read_members", repo)


def offer_wizard(request: HttpRequest, context: dict[str, Any]) -> str:
    """Beside the card of a model: the way into the wizard."""
    repo: Repo = context["repo"]
    if repo.type != Repo.Type.MODEL or repo.is_disabled:
        return ""
    return render_to_string("training/side.html", {"repo": repo}, request=request)


add_tab("Runs", "/runs", has_runs, lambda request, repo: None, order=10)
add_tab("Playground", "/playground", has_playground, order=20)
add_panel("pull_request_evidence", show_evidence, order=10)
add_panel("pull_request_checks", link_evidence, order=10)
add_panel("check_actions", offer_acts, order=10)
add_panel("repo_side", offer_wizard, order=-10)
