"""Tokens of the byte store: bound to a person, a repository, a direction and a revision, for one hour."""

import time
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.http import HttpRequest, HttpResponse

from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.api.addresses import base_url
from hub.api.hf.endpoints import answer, endpoint
from hub.common.errors import Forbidden, NotSignedIn
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo

SALT = "xet"
LIFETIME_S = 3600
DATA_LIFETIME_S = 3600  # of an address for a piece of a xorb


@dataclass(frozen=True)
class Access:
    """What a token of the store allows."""

    repo: Repo
    user: Any  # User or AnonymousUser
    is_write: bool


def give_token(
    request: HttpRequest, *, kind: str, namespace: str, name: str, direction: str, revision: str
) -> HttpResponse:
    """Reading needs a revision that this person may see; writing the right to contribute (a stranger's bytes can only
    go into their own pull request)."""
    repo = find_repo(kind[:-1], f"{namespace}/{name}", request.user)
    is_write = direction == "write"
    if is_write:
        if not request.user.is_authenticated:
            raise NotSignedIn("Sign in with a token that may write before you upload.")
        as_proposal = request.GET.get("create_pr") == "1" or revision.startswith("refs/pr/")
        require(request.user, "propose" if as_proposal else "write", repo)
    else:
        reader_for(repo, request.user).resolve(revision)
    expires = int(time.time()) + LIFETIME_S
    claims = {"r": repo.pk, "u": request.user.pk or 0, "w": is_write, "e": expires}
    token = signing.dumps(claims, salt=SALT, compress=True)
    url = f"{base_url(request)}/xet"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
    return answer({"accessToken": token, "exp": expires, "casUrl": url}, headers=headers)


issue_token = endpoint(GET=give_token)


def read_access(request: HttpRequest, *, write: bool = False) -> Access:
    """Whom the token of this request speaks for. The person's rights are looked up again: they may be gone by now."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = signing.loads(text.strip(), salt=SALT, max_age=LIFETIME_S) if scheme.lower() == "bearer" else None
    except signing.BadSignature:
        claims = None
    if claims is None or claims["e"] < time.time():
        raise NotSignedIn("This token of the store is not valid any more; ask the hub for a new one.")
    repo = Repo.objects.for_listing().filter(pk=claims["r"]).first()
    user = User.objects.filter(pk=claims["u"], is_active=True).first() if claims["u"] else AnonymousUser()
    if repo is None or user is None or not can(user, "read", repo):
        raise NotSignedIn("This token of the store is not valid any more; ask the hub for a new one.")
    if write and not claims["w"]:
        raise Forbidden("This token of the store may only read.")
    return Access(repo, user, claims["w"])


def sign_piece(xorb: str, start: int, end: int) -> str:
    """For an address of exactly these bytes: the rest of a xorb may belong to somebody else."""
    return signing.dumps([xorb, start, end], salt=f"{SALT}-data")


def read_piece(signature: str, xorb: str) -> tuple[int, int]:
    """(start, end) that the address allows. Raises Forbidden."""
    try:
        signed, start, end = signing.loads(signature, salt=f"{SALT}-data", max_age=DATA_LIFETIME_S)
    except (signing.BadSignature, ValueError):
        raise Forbidden("This address has expired; ask for the file again.") from None
    if signed != xorb:
        raise Forbidden("This address was made for other bytes.")
    return int(start), int(end)
