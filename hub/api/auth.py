"""Who asks: a token in the Authorization header, or the session of a browser."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication

from hub.accounts.models import AccessToken
from hub.accounts.permissions import can
from hub.accounts.tokens import find_token
from hub.api.error_responses import answer
from hub.common.errors import Forbidden, HubError, NotSignedIn, RepoNotFound
from hub.repos.find import lookup

NO_CACHE = {"Cache-Control": "no-cache, max-age=0, must-revalidate", "Pragma": "no-cache"}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")
STORE_PATH = "/xet/"  # these requests carry tokens of the store, which hub.api.xet reads
TOKEN_AS_PASSWORD = (
    "The password that git sent is no access token of this hub, or one that has ended. Use an access token as password "
    "(Settings, Access tokens), not the password of your account."
)
INVALID = "Invalid credentials in Authorization header"  # the stock client knows these words


def read_token(header: str) -> str | None:
    """The token of `Bearer TOKEN`, or of `Basic` with the token as password (git) or as user name; None when neither."""
    scheme, _, value = header.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or name or None


class TokenMiddleware:
    """Sets `request.user` from a token; `user.token` is then its row. A header that proves nothing is refused before
    any view, with the same answer for private and missing repositories."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        header = request.headers.get("Authorization", "")
        request.has_bad_token = False  # type: ignore[attr-defined]
        if header and not request.path_info.startswith(STORE_PATH):
            # A token proves who asks by itself; cookies that came along count for nothing.
            request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
            text = read_token(header)
            row = find_token(text) if text else None
            request.has_bad_token = row is None  # type: ignore[attr-defined]
            request.user = user_of(row) if row else AnonymousUser()
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        if not request.has_bad_token or getattr(view, "reads_own_tokens", False):  # type: ignore[attr-defined]
            return None
        refusal = refusal_of_bad_token(kwargs)
        if getattr(view, "speaks_git", False):
            refusal.message = TOKEN_AS_PASSWORD
            return answer_git(refusal)
        return answer(request, refusal)


def answer_git(problem: HubError) -> HttpResponse:
    """git shows a refusal to the person only when it is plain text."""
    text = HttpResponse(problem.message + "\n", status=problem.status, content_type="text/plain; charset=utf-8")
    for name, value in {"X-Error-Code": problem.code, **NO_CACHE, **problem.headers}.items():
        text[name] = value
    return text


def speaks_git(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Mark a view of git's own protocol."""
    view.speaks_git = True  # type: ignore[attr-defined]
    return view


def user_of(row: AccessToken) -> Any:
    user = row.user
    user.token = row  # type: ignore[attr-defined]  # hub.accounts.permissions reads its role
    return user


def refusal_of_bad_token(kwargs: dict[str, Any]) -> NotSignedIn:
    """401 everywhere. Where a repository is meant that not everybody may read, it is also RepoNotFound, like one that
    does not exist: `repo_exists` of the stock client then says False instead of failing."""
    headers = {"WWW-Authenticate": 'Basic realm="Model Commons"'}
    if kwargs.get("namespace") and kwargs.get("name"):
        repo = lookup(named_type(kwargs), f"{kwargs['namespace']}/{kwargs['name']}")
        if repo is None or not can(AnonymousUser(), "read", repo):
            return NotSignedIn(INVALID, code=RepoNotFound.code, headers=headers)
    return NotSignedIn(INVALID, headers=headers)


def named_type(kwargs: dict[str, Any]) -> str:
    """The repository type in an address: as converted, as written ("models"), or by its prefix (none for models)."""
    return str(kwargs.get("type") or kwargs.get("kind") or kwargs.get("prefix") or "model").removesuffix("s")


def reads_own_tokens(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Mark a view that judges a header which is no access token by itself (signed transfers)."""
    view.reads_own_tokens = True  # type: ignore[attr-defined]
    return view


class CookieCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> str:  # type: ignore[override]
        return reason


def check_cookie_write(request: HttpRequest) -> None:
    """A browser session may change something only with its CSRF token. Tokens and strangers need none."""
    if request.method in SAFE_METHODS or not request.user.is_authenticated or hasattr(request.user, "token"):
        return
    check = CookieCheck(lambda _: HttpResponse())
    check.process_request(request)
    if check.process_view(request, lambda _: None, (), {}):
        raise Forbidden("This browser request carries no valid X-CSRFToken header; reload the page and try again.")


class HubAuthentication(BaseAuthentication):
    """REST framework takes over whom the middleware found."""

    def authenticate(self, request: Any) -> tuple[Any, Any] | None:
        user = request._request.user
        if not user.is_authenticated:
            return None
        check_cookie_write(request._request)
        return user, getattr(user, "token", None)

    def authenticate_header(self, request: Any) -> str:
        return "Bearer"
