"""Access to gated repositories, as the stock client asks for it and decides about it."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.api.addresses import next_page
from hub.api.hf.endpoints import answer, endpoint, read_json, signed_in, text_of, with_repo
from hub.api.hf.times import format_time
from hub.common.errors import InvalidInput
from hub.common.paging import cut_page, read_limit, read_number
from hub.repos import gating
from hub.repos.access_models import AccessRequest
from hub.repos.models import Repo

PAGE, MOST, MAX_PAGES = 100, 1000, 10_000


@signed_in
@with_repo()
def list_requests(request: HttpRequest, repo: Repo, *, status: str) -> HttpResponse:
    rows = gating.list_requests(repo=repo, by=request.user, status=status)
    limit = read_limit(request, default=PAGE, most=MOST)
    page = min(read_number(request.GET.get("p", "0")) or 0, MAX_PAGES)
    found, has_more = cut_page(list(rows[page * limit : (page + 1) * limit + 1]), limit=limit)
    headers = {"Link": next_page(request, p=page + 1)} if has_more else None
    return answer([describe_request(row) for row in found], headers=headers)


def describe_request(row: AccessRequest) -> dict[str, Any]:
    """Who asks shares their address with those who decide, and the form says so; who was let in unasked does not."""
    person = {"_id": str(row.user.pk), "user": row.user.username, "fullname": row.user.fullname or row.user.username}
    if not row.is_granted and row.user.email:
        person["email"] = row.user.email
    item: dict[str, Any] = {
        "requestId": row.key,
        "status": row.status,
        "timestamp": format_time(row.at),
        "user": person,
    }
    return item | {"fields": row.fields} if row.fields else item


@signed_in
@with_repo(action="write")
def handle_request(request: HttpRequest, repo: Repo) -> HttpResponse:
    body = read_json(request)
    user, key = text_of(body, "user", default=""), text_of(body, "requestId", default="")
    gating.require_gate(repo)
    if not user and not key:
        raise InvalidInput("Say whose request it is: send 'user' or 'requestId'.")
    found = gating.find_request(repo, user=user, key=key)
    reason = text_of(body, "rejectionReason", default="")
    gating.decide(repo=repo, by=request.user, request=found, status=text_of(body, "status"), reason=reason)
    return answer({"success": True})


@signed_in
@with_repo(action="write")
def grant(request: HttpRequest, repo: Repo) -> HttpResponse:
    gating.require_gate(repo)
    person = gating.find_person(text_of(read_json(request), "user"))
    made = gating.grant_access(repo=repo, by=request.user, user=person)
    return answer(describe_request(made))


@signed_in
@with_repo()
def ask(request: HttpRequest, repo: Repo) -> HttpResponse:
    """Ask for access by program: {"fields": {question: answer}}."""
    fields = read_json(request).get("fields") or {}
    if not isinstance(fields, dict):
        raise InvalidInput("'fields' must be an object of questions and answers.")
    made = gating.ask_for_access(repo=repo, by=request.user, answers=fields)
    return answer({"requestId": made.key, "status": made.status})


handling = endpoint(POST=handle_request)
granting = endpoint(POST=grant)
asking = endpoint(POST=ask)
requests = endpoint(GET=list_requests)
