"""`hf auth login`: the program's half of signing in by browser. Errors have the form that OAuth prescribes."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.device_grants import INTERVAL_S, LIFETIME_S, GrantRefused, redeem_grant, start_grant
from hub.api.addresses import absolute
from hub.api.hf.endpoints import answer, endpoint, read_json

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
APPROVE_PATH = "/oauth/device/approve"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def start(request: HttpRequest) -> HttpResponse:
    device_code, grant = start_grant()
    address = absolute(request, APPROVE_PATH)
    return answer(
        {
            "device_code": device_code,
            "user_code": grant.user_code,
            "verification_uri": address,
            "verification_uri_complete": f"{address}?user_code={grant.user_code}",
            "interval": INTERVAL_S,
            "expires_in": LIFETIME_S,
        },
        headers=NO_STORE,
    )


def give_token(request: HttpRequest) -> HttpResponse:
    form = read_form(request)
    kind = form.get("grant_type")
    if kind != DEVICE_GRANT:
        code = "invalid_grant" if kind == "refresh_token" else "unsupported_grant_type"
        return refuse(code, f"This hub gives tokens by {DEVICE_GRANT} only; they need no refresh.")
    try:
        row, token = redeem_grant(str(form.get("device_code", "")))
    except GrantRefused as problem:
        return refuse(problem.code, problem.message)
    return answer({"access_token": token, "token_type": "bearer", "scope": row.role}, headers=NO_STORE)


def read_form(request: HttpRequest) -> dict[str, Any]:
    if (request.content_type or "").endswith("json"):
        return read_json(request)
    return request.POST.dict()


def refuse(code: str, sentence: str) -> HttpResponse:
    return answer({"error": code, "error_description": sentence}, status=400, headers=NO_STORE)


device = endpoint(POST=start)
token = endpoint(POST=give_token)
