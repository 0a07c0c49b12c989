"""What people do in a case: each answers with the page of a case, or with the same page and why not."""

from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_POST

from hub.common.errors import HubError
from hub.web.repo_pages import require_sign_in
from moderation.cases import appeals, conversation, deadlines, quarantines, queue, report_tests, withholding
from moderation.cases.voices import count_missing, recuse
from moderation.models import Case
from moderation.pages.cases import show_case

Act = Callable[[HttpRequest, Case], tuple[Case, str]]  # the case to show next, and what to say there
DONE = "Done. The people concerned are told, with your reason."


def case_act(part: str = "") -> Callable[[Act], Callable[..., HttpResponse]]:
    """A view for an act that may raise HubError; `part`: of the page, to which the person returns."""

    def make_view(act: Act) -> Callable[..., HttpResponse]:
        @require_POST
        @wraps(act)
        def view(request: HttpRequest, number: int) -> HttpResponse:
            require_sign_in(request)
            case = queue.find_case(number, request.user)
            try:
                shown, said = act(request, case)
            except HubError as problem:
                return show_case(request, number, problem=problem.message, status=problem.status)
            if said:
                messages.success(request, said)
            return HttpResponseRedirect(f"{queue.path_of(shown)}{part}")

        return view

    return make_view


def read(request: HttpRequest, *names: str) -> dict[str, str]:
    return {name: request.POST.get(name, "") for name in names}


@case_act()
def decide_case(request: HttpRequest, case: Case) -> tuple[Case, str]:
    queue.decide_case(case=case, by=request.user, **read(request, "state", "reason", "clause"))
    case.refresh_from_db()
    if case.state == Case.State.OPEN and count_missing(case):
        return case, "One more moderator has to agree; they are told, with your reason."
    return case, "Decided. The people concerned are told, with your reason."


@case_act()
def judge_file(request: HttpRequest, case: Case) -> tuple[Case, str]:
    given = read(request, "act", "path", "reason", "clause")
    return withholding.judge_file(case=case, by=request.user, **given), DONE


@case_act()
def claim_case(request: HttpRequest, case: Case) -> tuple[Case, str]:
    deadlines.claim(case=case, by=request.user)
    return case, "It is yours for four hours."


@case_act()
def step_back(request: HttpRequest, case: Case) -> tuple[Case, str]:
    """A moderator who has a part in it that no row knows."""
    recuse(case=case, by=request.user, reason=request.POST.get("recuse_reason", ""))
    return case, "You stepped back. Another moderator decides it."


@case_act()
def act_on_offline(request: HttpRequest, case: Case) -> tuple[Case, str]:
    """Take the whole repository of a report offline; second or lift that."""
    given = read(request, "act", "reason", "clause")
    return quarantines.act_on(case=case, by=request.user, **given).case, DONE


@case_act("#conversation")
def say_in_case(request: HttpRequest, case: Case) -> tuple[Case, str]:
    conversation.say(case=case, by=request.user, text=request.POST.get("note", ""))
    return case, ""


@case_act("#test")
def make_test(request: HttpRequest, case: Case) -> tuple[Case, str]:
    given = {name: text.replace("\r\n", "\n") for name, text in read(request, "prompt", "answer", "suite").items()}
    lines = {name: text.splitlines() for name, text in read(request, "must", "must_not").items()}
    report_tests.make_test(case=case, by=request.user, **given, **lines)
    return case, "The test is made. Each later release is put to it, and the case closes when one passes."


@case_act()
def appeal_case(request: HttpRequest, case: Case) -> tuple[Case, str]:
    again = appeals.appeal(case=case, by=request.user, text=request.POST.get("text", ""))
    return again, "Another moderator will look at it."
