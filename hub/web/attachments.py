"""One's own attachments: what they hold of the quota, and taking one away. Moderators take away any by its address."""

from urllib.parse import urlsplit

from django.contrib import messages
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.community.attachments import MAX_BYTES, find_attachment, find_uses, remove_attachment
from hub.web.listings import cut_numbered_page
from hub.web.repo_pages import require_browser


def list_attachments(request: HttpRequest) -> HttpResponse:
    own = require_browser(request).attachments.order_by("-at", "-pk")
    shown = own.filter(removed_at=None)
    page = cut_numbered_page(request, shown)
    uses = find_uses(request.user)
    context = {
        "part": "attachments",
        "page": page,
        "rows": [(row, uses.get(row.path)) for row in page.object_list],
        "used": own.aggregate(total=Sum("size"))["total"] or 0,
        "most": MAX_BYTES,
        "may_moderate": can(request.user, "moderate"),
    }
    return render(request, "accounts/settings_attachments.html", context)


@require_POST
def remove(request: HttpRequest) -> HttpResponse:
    """`address` is that of the attachment, with or without the host."""
    user = require_browser(request)
    try:
        name = urlsplit(request.POST.get("address", "").strip()).path.rpartition("/")[2]
        remove_attachment(attachment=find_attachment(name), by=user)
    except HubError as problem:
        messages.error(request, problem.message)
    except ValueError:  # "http://[" is no address at all
        messages.error(request, "This is no address; copy the one under which the attachment is shown.")
    else:
        messages.success(request, "The attachment is removed: its address shows nothing any more.")
    return HttpResponseRedirect("/settings/attachments")
