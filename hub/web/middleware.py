"""CSRF protection for what a browser does with a session cookie."""

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseForbidden
from django.middleware.csrf import CsrfViewMiddleware

# Doors of programs. They prove who they are in each request; where they also take a session (hub.api.auth) they check
# the CSRF token themselves. A request with a valid access token is exempt everywhere: TokenMiddleware marks it.
PROGRAM_DOORS = re.compile(r"^/(api|lfs|xet)/|^/(?:(?:datasets|spaces)/)?[^/]+/[^/]+\.git/")


class CsrfForPagesMiddleware(CsrfViewMiddleware):
    """Django's own check, but not where a program speaks: a foreign page can make a browser send a cookie, not a token."""

    def process_view(
        self, request: HttpRequest, callback: Callable[..., Any], callback_args: Any, callback_kwargs: Any
    ) -> HttpResponseForbidden | None:
        if PROGRAM_DOORS.match(request.path_info):
            return None
        return super().process_view(request, callback, callback_args, callback_kwargs)
