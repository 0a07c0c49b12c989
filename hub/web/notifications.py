"""What happened that concerns a person: the list behind the bell."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from hub.common.errors import NotFound
from hub.community.models import Notification
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import require_browser

PER_PAGE = 30


def list_notifications(request: HttpRequest) -> HttpResponse:
    require_browser(request)
    show = "unread" if request.GET.get("show") == "unread" else "all"
    rows = Notification.objects.filter(user=request.user).order_by("-at", "-pk")
    if show == "unread":
        rows = rows.filter(is_read=False)
    context = {"page": cut_numbered_page(request, rows, PER_PAGE), "show": show}
    return render(request, "accounts/notifications.html", context)


@require_POST
def open_notification(request: HttpRequest, pk: int) -> HttpResponse:
    """Mark one as read and go where it points."""
    require_browser(request)
    row = Notification.objects.filter(user=request.user, pk=pk).first()
    if row is None:
        raise NotFound("There is no such notification among yours.")
    Notification.objects.filter(pk=row.pk).update(is_read=True)
    is_ours = row.path.startswith("/") and url_has_allowed_host_and_scheme(row.path, allowed_hosts=None)
    return HttpResponseRedirect(row.path if is_ours else "/notifications")


@require_POST
def mark_all_read(request: HttpRequest) -> HttpResponse:
    require_browser(request)
    Notification.objects.filter(user=request.user, is_read=False).update(is_read=True)
    return HttpResponseRedirect("/notifications")
