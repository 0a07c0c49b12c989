"""The front page, and choosing what to improve."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.community.models import Check, Discussion, Notification
from hub.web.listings import cut_numbered_page, filter_repos, listed_repos, read_filters
from hub.web.repo_pages import require_sign_in

SHOWN = 6
LOOKED_AT = 60  # newest proposals, of which the most urgent are shown
# The line of the front page: what happens to a contribution, station by station.
STATIONS = [
    ("Bring", "Somebody uploads texts, or proposes a change to a recipe."),
    ("Screen data", "Secrets, personal data, unsafe files and licences are looked for."),
    ("Prepare", "Texts are cleaned, duplicates dropped, and cut into tokens."),
    ("Train", "The hub trains the model; you watch the curve."),
    ("Save", "Every checkpoint has a digest, so that nothing can be swapped."),
    ("Evaluate", "The new model takes the same tests as the one before it."),
    ("Screen answers", "What the new model says is looked at before anybody else sees it."),
    ("Review", "People read the evidence, approve and merge."),
    ("Release", "Two people publish a signed version that never changes."),
    ("Listen", "A reported answer becomes a test for the next version."),
]


def show_home(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return show_desk(request)
    repos = listed_repos(request.user).order_by("-updated_at", "-pk")
    context = {
        "stations": STATIONS,
        "models": repos.filter(type="model")[:SHOWN],
        "datasets": repos.filter(type="dataset")[:SHOWN],
        "proposals": newest_proposals(request)[:SHOWN],
    }
    return render(request, "home.html", context)


def newest_proposals(request: HttpRequest):  # type: ignore[no-untyped-def]  # a QuerySet of Discussion
    visible = listed_repos(request.user).order_by().values("pk")
    rows = Discussion.objects.filter(is_pull_request=True, is_private=False, status="open", repo__in=visible)
    rows = rows.select_related("author", "repo__owner_user", "repo__owner_organization")
    return rows.prefetch_related("pull_request__checks").order_by("-created_at", "-pk")


def urgency(discussion: Discussion) -> int:
    """What waits for a person comes first, then what is still at work, at last what its author has to mend."""
    states = {check.state for check in discussion.pull_request.checks.all()}
    if states & {Check.State.FAILED, Check.State.CANCELLED} or discussion.pull_request.conflict_paths:
        return 2
    return 1 if Check.State.RUNNING in states else 0


def show_desk(request: HttpRequest) -> HttpResponse:
    """The front page of somebody who is signed in: what waits for them, what they own, what they proposed."""
    user = request.user
    mine = listed_repos(user).filter(owner_user=user) | listed_repos(user).filter(
        owner_organization__memberships__user=user, owner_organization__memberships__role__in=("write", "admin")
    )
    mine = mine.distinct().order_by("-updated_at", "-pk")
    proposed = Discussion.objects.filter(author=user, is_pull_request=True, repo__in=listed_repos(user).values("pk"))
    proposed = proposed.select_related("repo__owner_user", "repo__owner_organization")
    waiting = newest_proposals(request).filter(repo__in=mine.order_by().values("pk")).exclude(author=user)
    held = Check.objects.filter(state=Check.State.HELD, pull_request__discussion__in=waiting.order_by().values("pk"))
    context = {
        "repos": mine[:SHOWN],
        "proposed": proposed.prefetch_related("pull_request__checks").order_by("-updated_at", "-pk")[:SHOWN],
        "waiting": sorted(waiting[:LOOKED_AT], key=urgency)[:SHOWN],
        "held": set(held.values_list("pull_request_id", flat=True)),
        "news": Notification.objects.filter(user=user, is_read=False).order_by("-at")[:SHOWN],
        "others": listed_repos(user)
        .filter(type="model")
        .exclude(pk__in=mine.order_by().values("pk"))
        .order_by("-updated_at")[:SHOWN],
    }
    return render(request, "desk.html", context)


def choose_model(request: HttpRequest) -> HttpResponse:
    """First step of a proposal: which model should become better?"""
    require_sign_in(request)
    filters = read_filters(request)
    models = filter_repos(listed_repos(request.user).filter(type="model"), filters)
    return render(request, "new_proposal.html", {"page": cut_numbered_page(request, models), "filters": filters})
