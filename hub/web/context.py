"""What every page knows without asking: the site's name, its address, and how many notifications wait."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from hub.community.models import Notification


def site(request: HttpRequest) -> dict[str, Any]:
    address = settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
    return {
        "site_name": settings.SITE_NAME,
        "site_url": address,
        "unread_notifications": SimpleLazyObject(lambda: count_unread(request)),  # no query where no bell is drawn
    }


def count_unread(request: HttpRequest) -> int:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return 0
    return Notification.objects.filter(user=user, is_read=False).count()
