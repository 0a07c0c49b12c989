"""One place that turns refusals into answers: JSON for programs, a page for people; always with a request id."""

import errno
import logging
import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, IntegrityError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.shortcuts import render
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.response import Response

from hub.common.errors import (
    Conflict,
    EntryNotFound,
    Forbidden,
    HubError,
    InvalidInput,
    NotFound,
    NotSignedIn,
    RangeNotSatisfiable,
    RevisionNotFound,
    StaleCommit,
    TooLarge,
)
from hub.storage import errors as storage

log = logging.getLogger(__name__)

SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:=;-]{8,100}")
MAX_MESSAGE_HEADER = 1000  # characters; proxies cut long headers
# Addresses of programs. Everything else that fails is answered with a page.
PROGRAM_PATH = re.compile(
    r"/api$|/(?:api|lfs|xet|v1)/|/oauth/(?:device|token)$|/(?:(?:datasets|spaces)/)?[^/]+/[^/]+(?:\.git/|/(?:resolve|raw)/)"
)
FROM_STORAGE: list[tuple[type[storage.StorageError], type[HubError]]] = [
    (storage.StaleParent, StaleCommit),
    (storage.UnknownRevision, RevisionNotFound),
    (storage.UnknownPath, EntryNotFound),
    (storage.UnknownContent, NotFound),
    (storage.MergeConflict, Conflict),
    (storage.NotOwned, Forbidden),
    (storage.TooLarge, TooLarge),
    (storage.InvalidRange, RangeNotSatisfiable),
    (storage.StorageError, InvalidInput),
]


class Unavailable(HubError):
    """The stock client tries a 503 again after a moment."""

    status = 503


class NoRoom(HubError):
    """No stock client tries this again by itself, which a full disk would not stand."""

    status = 507


def is_disk_full(problem: Exception) -> bool:
    """By the word of the system, or of SQLite."""
    if isinstance(problem, OperationalError):
        return "disk is full" in str(problem)
    return isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)


def as_hub_error(problem: Exception) -> HubError | None:
    """The refusal that an exception stands for, or None when it is a fault of our own."""
    if isinstance(problem, HubError):
        return problem
    if isinstance(problem, storage.StorageError):
        kind = next(hub for engine, hub in FROM_STORAGE if isinstance(problem, engine))
        extra = {"paths": problem.paths} if isinstance(problem, storage.MergeConflict) else {}
        return kind(str(problem), **extra)
    if is_disk_full(problem):
        log.error("The disk is full: %s", problem)
        return NoRoom("The disk of this hub is full, so this was not taken; its operator has to make room.")
    if isinstance(problem, storage.StoreUnavailable):
        return Unavailable(str(problem), headers={"Retry-After": "5"})
    if isinstance(problem, Http404):
        return NotFound("There is nothing at this address.")
    if isinstance(problem, PermissionDenied):
        return Forbidden(str(problem) or "You may not do this.")
    if isinstance(problem, RequestDataTooBig):
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 1024**2
        return TooLarge(f"The body is too large for this address (at most {most} MiB); send files through an upload.")
    if isinstance(problem, UnreadablePostError):
        return InvalidInput("The connection ended before the whole body had arrived; send it again.")
    if isinstance(problem, SuspiciousOperation):
        return InvalidInput("The request is malformed.")
    if isinstance(problem, UnicodeEncodeError) and "surrogates" in problem.reason:
        return InvalidInput("A text holds half of a character, which cannot be kept; send it again as UTF-8.")
    if isinstance(problem, DataError) or (isinstance(problem, ValueError) and "NUL (0x00)" in str(problem)):
        return InvalidInput("A value holds a NUL, or is too long or too large for what it describes; shorten it.")
    if isinstance(problem, IntegrityError) and "foreign key" in str(problem).lower():
        return Conflict("What this belongs to was deleted at this very moment; look whether it is still there.")
    if isinstance(problem, OperationalError) and "LIKE or GLOB pattern too complex" in str(problem):
        return InvalidInput("The name or word to look for is too long; shorten it.")
    if isinstance(problem, OperationalError) and "locked" in str(problem):
        return Unavailable("The database is busy; try again in a moment.", headers={"Retry-After": "1"})
    return None


def header_text(text: str) -> str:
    """`text` as a header can carry it: one line, Latin-1, not too long."""
    return " ".join(text.split()).encode("latin-1", "replace").decode("latin-1")[:MAX_MESSAGE_HEADER]


def told_to_client(problem: HubError) -> str:
    """Without its full stop where the stock client sets one (403), and the same in header and body, or it says both."""
    return problem.message.removesuffix(".") if problem.status == 403 else problem.message


def answer_json(problem: HubError) -> JsonResponse:
    """The refusal as the stock client reads it."""
    message = told_to_client(problem)
    response = JsonResponse({"error": message, **problem.extra}, status=problem.status)
    if problem.code:
        response["X-Error-Code"] = problem.code
    response["X-Error-Message"] = header_text(message)
    # A repository that is not there is refused before anybody asks who reads: a private one must not differ from it.
    response["Vary"] = "Cookie"
    for name, value in problem.headers.items():
        response[name] = value
    return response


def answer_page(request: HttpRequest, problem: HubError) -> HttpResponse:
    """The refusal as a page. Somebody who is not signed in is asked to, and comes back."""
    if isinstance(problem, NotSignedIn) and request.method in ("GET", "HEAD"):
        return HttpResponse(
            status=302, headers={"Location": f"{settings.LOGIN_URL}?next={quote(request.get_full_path())}"}
        )
    response = render(request, "error.html", {"problem": problem}, status=problem.status)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def is_for_programs(request: HttpRequest) -> bool:
    """Whether the address belongs to a door for programs: those never answer HTML."""
    if PROGRAM_PATH.match(request.path_info):
        return True
    match = request.resolver_match
    return match is not None and getattr(match.func, "__module__", "").startswith("hub.api.")


def answer(request: HttpRequest, problem: HubError) -> HttpResponse:
    return answer_json(problem) if is_for_programs(request) else answer_page(request, problem)


def answer_exception(problem: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's handler: the same bodies as everywhere else. None lets the middleware log and answer a fault."""
    refusal = as_hub_error(problem)
    if refusal is not None:
        message = told_to_client(refusal)
        headers = {"X-Error-Message": header_text(message), **refusal.headers}
        reply = Response({"error": message, **refusal.extra}, status=refusal.status, headers=headers)
        if refusal.code:
            reply["X-Error-Code"] = refusal.code
        return reply
    if isinstance(problem, ValidationError):
        sentence = first_sentence(problem.detail)
        return Response({"error": sentence, "fields": problem.detail}, status=400)
    if isinstance(problem, APIException):
        headers = {"WWW-Authenticate": problem.auth_header} if hasattr(problem, "auth_header") else {}
        return Response({"error": str(problem.detail)}, status=problem.status_code, headers=headers)
    return None


def first_sentence(detail: Any, where: str = "") -> str:
    """`title: This field is required.` from the nested detail of a ValidationError."""
    if isinstance(detail, dict) and detail:
        key, value = next(iter(detail.items()))
        return first_sentence(value, where if key == "non_field_errors" else f"{where}.{key}".lstrip("."))
    if isinstance(detail, list) and detail:
        return first_sentence(detail[0], where)
    return f"{where}: {detail}" if where else str(detail)


def refuse_host(request: HttpRequest) -> HttpResponse | None:
    """400 for a Host header that is none. Every page builds links from it, also the one that would tell of the refusal."""
    try:
        request.get_host()
    except DisallowedHost:
        text = "The Host header of this request names no host that this hub answers for.\n"
        return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")
    return None


class RequestIdMiddleware:
    """Every answer names its request, and no address of programs answers HTML, whichever layer refused."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request.id = given if SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex  # type: ignore[attr-defined]
        response = refuse_host(request) or self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if response.status_code >= 400 and is_page and is_for_programs(request):
            response = self.replace_page(response)
        response["X-Request-Id"] = request.id  # type: ignore[attr-defined]
        return response

    def replace_page(self, page: HttpResponse) -> HttpResponse:
        sentences = {
            400: "The request is malformed.",
            403: "This request was refused; send an access token in the Authorization header.",
            404: "There is nothing at this address.",
            405: "This address does not take this method.",
        }
        problem = HubError(sentences.get(page.status_code, "Something broke in the hub itself; its log says what."))
        problem.status = page.status_code
        return answer_json(problem)


class HubErrorMiddleware:
    """Turns what views raise into answers. Faults of our own are logged with the request id and answered with 500."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]):
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, problem: Exception) -> HttpResponse | None:
        refusal = as_hub_error(problem)
        if refusal is not None:
            return answer(request, refusal)
        if not is_for_programs(request):
            return None  # Django's own 500 page, which needs no working database
        request_id = getattr(request, "id", "")
        log.exception("Request %s broke: %s %s", request_id, request.method, request.path)
        fault = HubError(f"Something broke in the hub itself; its log tells more under request id {request_id}.")
        fault.status = 500
        return answer_json(fault)
