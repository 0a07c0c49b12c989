"""`hf auth login` on another machine shows a code; here its owner approves it, or says no."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from hub.accounts.device_grants import approve_grant, deny_grant, find_grant
from hub.accounts.throttles import check_patience, note_failure, subjects_of
from hub.common.errors import HubError
from hub.web.repo_pages import require_browser


@never_cache
def approve_device(request: HttpRequest) -> HttpResponse:
    """GET shows what is asked for, POST decides it."""
    require_browser(request)
    code = (request.POST.get("user_code") or request.GET.get("user_code") or request.GET.get("code") or "").strip()
    now, subjects = timezone.now(), subjects_of(request, "device", str(request.user.pk))
    if code:
        check_patience(subjects, now=now)
    if request.method == "POST" and "act" in request.POST:
        return decide(request, code)
    grant, problem = None, ""
    if code:
        try:
            grant = find_grant(code)
        except HubError as refusal:
            problem = refusal.message
            note_failure(subjects, now=now)
    context = {"code": code, "grant": grant, "problem": problem}
    return render(request, "accounts/device.html", context, status=400 if problem else 200)


def decide(request: HttpRequest, code: str) -> HttpResponse:
    """Its address shows the same code again when it is not taken, and counts it there."""
    is_yes = request.POST["act"] == "approve"
    try:
        if is_yes:
            approve_grant(user_code=code, by=request.user)
        else:
            deny_grant(user_code=code)
    except HubError as problem:
        messages.error(request, problem.message)
        return HttpResponseRedirect(f"/oauth/device/approve?{urlencode({'user_code': code})}")
    return render(request, "accounts/device_done.html", {"is_yes": is_yes})
