"""Several cases selected in the queue: first what would happen to each, then what did."""

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from hub.accounts.permissions import require
from hub.common.errors import HubError, InvalidInput
from hub.common.paging import read_number
from hub.web.repo_pages import require_sign_in
from moderation.cases import bulk_acts
from moderation.rules.policies import in_force

CHOICES = {  # as in the address -> in words of the list, of the heading
    "claim": ("Claim them for four hours", "Claim"),
    "dismiss": ("Dismiss: nothing is wrong (reports)", "Dismiss"),
    "allowed": ("Allow (files, answers, exceptions)", "Allow"),
    "refused": ("Refuse (files, answers, exceptions, reports)", "Refuse"),
    "resolved": ("Resolve: something was done (reports)", "Resolve"),
    "waiting": ("Accept: it waits for a fix (reports)", "Accept"),
}
BACK = ("state", "kind", "q", "repo", "sort", "page")  # filters of the queue


@require_http_methods(["GET", "HEAD", "POST"])
def act_on_selected(request: HttpRequest) -> HttpResponse:
    """GET asks and changes nothing. POST acts, and shows what was done and what was not: sent again, it does nothing twice."""
    require_sign_in(request)
    require(request.user, "moderate")
    given = request.POST if request.method == "POST" else request.GET
    problem, status = "", 200
    try:
        numbers = read_numbers(given)
        wish = read_wish(request, given)
        if request.method == "POST":
            return show_outcomes(request, wish, bulk_acts.carry_out_wish(wish, numbers), is_done=True)
        return show_outcomes(request, wish, bulk_acts.preview(wish, numbers))
    except HubError as refusal:
        problem, status = refusal.message, refusal.status
    return ask_again(request, given, problem, status)


def read_numbers(given: QueryDict) -> list[int]:
    numbers = [read_number(text) for text in given.getlist("case")]
    if None in numbers:
        raise InvalidInput("A case is named by its number.")
    return bulk_acts.check_numbers(number for number in numbers if number is not None)


def read_wish(request: HttpRequest, given: QueryDict) -> bulk_acts.Wish:
    choice = given.get("act", "")
    if choice not in CHOICES:
        raise InvalidInput("Choose what to do with the selected cases.")
    act, state = (choice, "") if choice in bulk_acts.ACTS else ("decide", choice)
    words = {name: given.get(name, "") for name in ("reason", "clause")}
    return bulk_acts.make_wish(by=request.user, act=act, state=state, **words)


def way_back(given: QueryDict) -> str:
    """The queue as it was when the cases were selected."""
    asked = QueryDict(given.get("back", "")[:500])
    pairs = {name: asked[name] for name in BACK if asked.get(name)}
    return f"/moderation?{urlencode(pairs)}" if pairs else "/moderation"


def show_outcomes(
    request: HttpRequest, wish: bulk_acts.Wish, outcomes: list[bulk_acts.Outcome], *, is_done: bool = False,
    problem: str = "", status: int = 200,
) -> HttpResponse:  # fmt: skip
    given = request.POST if request.method == "POST" else request.GET
    context = {
        "choice": given.get("act", ""),
        "verb": CHOICES[given.get("act", "")][1],
        "needs_reason": bool(wish.state),
        "acted": [outcome for outcome in outcomes if outcome.is_done],
        "left": [outcome for outcome in outcomes if not outcome.is_done],
        "is_done": is_done,
        "clauses": in_force().policy.clauses,
        "given": given,
        "back": way_back(given),
        "problem": problem,
    }
    return render(request, "moderation/selected.html", context, status=status)


def ask_again(request: HttpRequest, given: QueryDict, problem: str, status: int) -> HttpResponse:
    """The same page with what is wrong with it; without the cases where these could not be read."""
    plain = given.copy()
    plain["reason"], plain["clause"] = given.get("reason", ""), ""
    try:
        wish, numbers = read_wish(request, plain), read_numbers(given)
    except HubError:
        context = {"problem": problem, "is_unread": True, "back": way_back(given)}
        return render(request, "moderation/selected.html", context, status=status)
    return show_outcomes(request, wish, bulk_acts.preview(wish, numbers), problem=problem, status=status)
