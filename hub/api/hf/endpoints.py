"""What all addresses of the stock client share: JSON in and out, methods, finding the repository for who asks."""

import io
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

import orjson
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from hub.api.auth import check_cookie_write
from hub.common.errors import HubError, InvalidInput, NotSignedIn, TooLarge
from hub.common.paging import read_number
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo
from hub.repos.reader import RepoReader

View = Callable[..., HttpResponse]
PIECE = 1024 * 1024


class MethodNotAllowed(HubError):
    status = 405


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def readline(self, size: int = -1, /) -> bytes: ...


def endpoint(**by_method: View) -> View:
    """One address: `endpoint(GET=show, POST=change)`. HEAD is answered by GET. A browser's session may write only with
    its CSRF token; a token or nobody at all needs none."""
    views = {"HEAD": by_method["GET"], **by_method} if "GET" in by_method else by_method

    @csrf_exempt
    def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        chosen = views.get(request.method or "")
        if chosen is None:
            known = ", ".join(sorted(views))
            raise MethodNotAllowed(f"{request.method} is not taken here; use {known}.", headers={"Allow": known})
        check_cookie_write(request)
        return chosen(request, **kwargs)

    return view


def with_repo(action: str = "read") -> Callable[[View], View]:
    """Find the repository that the address names for who asks; the view gets it as second argument."""

    def decorate(view: View) -> View:
        @wraps(view)
        def find_first(request: HttpRequest, *, type: str, namespace: str, name: str, **kwargs: Any) -> HttpResponse:
            return view(request, find_repo(type, f"{namespace}/{name}", request.user, action=action), **kwargs)

        return find_first

    return decorate


def signed_in(view: View) -> View:
    @wraps(view)
    def check_first(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            raise NotSignedIn(
                "Invalid user token: sign in with `hf auth login`, or send an access token that is valid."
            )
        return view(request, *args, **kwargs)

    return check_first


def open_reader(request: HttpRequest, repo: Repo) -> RepoReader:
    """What this person may see of the repository, their own pull requests included."""
    return reader_for(repo, request.user)


def answer(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> HttpResponse:
    """JSON; dates come out as the client reads them."""
    body = orjson.dumps(data, option=orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS)
    return HttpResponse(
        body, status=status, headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    )


def read_json(request: HttpRequest) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty one."""
    try:
        data = json.loads(request.body or b"{}")
    except (ValueError, RecursionError) as problem:
        raise InvalidInput(f'The body is not JSON ({problem}); send an object like {{"title": "..."}}.') from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidInput(f"The body is a JSON {type(data).__name__}; send an object with named values.")
    return data


def text_of(data: dict[str, Any], key: str, *, default: str | None = None) -> str:
    """A text of the body. Without a default it must be there."""
    value = data.get(key, default)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise InvalidInput(
            f"The value {key!r} must be a text; it is {'missing' if value is None else repr(value)[:50]}."
        )
    return value


def flag_of(value: Any) -> bool:
    """`?recursive=true` of the client, `1` of people, true of JSON."""
    return str(value).lower() in ("true", "1", "yes", "on")


class BodyStream(io.RawIOBase):
    """A request's body as a raw stream of which only `read` is used: granian's `readline` drops what follows the line."""

    def __init__(self, body: Any):
        self.body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self.body.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def announced_length(request: HttpRequest) -> int | None:
    """Bytes that the body is said to have; None for a chunked one."""
    return read_number(request.META.get("CONTENT_LENGTH") or "")


class LengthRequired(HubError):
    status = 411


def open_body(request: HttpRequest, *, limit: int, must_announce: bool = False) -> Readable:
    """The body as a stream. Refuses what announces more than `limit` bytes; a chunked one is counted by its reader.

    Django believes in Content-Length alone and would read nothing of a chunked body. Nobody tells us when a chunked body
    was cut (hub.site.bodies), so `must_announce` where the content itself does not show whether it is whole."""
    announced = announced_length(request)
    if announced is not None and announced > limit:
        raise TooLarge(f"The body has {announced:,} bytes; at most {limit:,} are taken here. Send it in parts.")
    if announced is None and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
        if must_announce:
            raise LengthRequired(
                "Send the body with a Content-Length: of a chunked one nobody sees when it was cut off."
            )
        return io.BufferedReader(BodyStream(request.META["wsgi.input"]), PIECE)
    return io.BufferedReader(BodyStream(request), PIECE)
