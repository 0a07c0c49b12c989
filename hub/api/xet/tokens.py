"""Tokens of the byte store: bound to a person with their access token, a repository, a direction and a revision, for
one hour. Addresses of data are bound to the file they were made for and to exactly its bytes."""

import time
from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.http import HttpRequest, HttpResponse

from hub.accounts.permissions import can, require, require_commit
from hub.api.addresses import base_url
from hub.api.grants import find_speaker, name_speaker
from hub.api.hf.endpoints import answer, endpoint, flag_of
from hub.common.errors import Forbidden, NotSignedIn, RevisionNotFound
from hub.community.contributions import reader_for
from hub.repos.find import find_repo
from hub.repos.models import Repo
from hub.repos.quotas import check_room, room_left
from hub.storage.xet.reconstruction import Parts

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
    commit = ""
    if is_write:
        if not request.user.is_authenticated:
            raise NotSignedIn("Sign in with a token that may write before you upload.")
        as_proposal = flag_of(request.GET.get("create_pr")) or revision.startswith("refs/pr/")
        require_commit(request.user, repo, is_proposal=as_proposal)
        if room_left(repo=repo, by=request.user) == 0:
            check_room(repo=repo, by=request.user, adding=1)  # says for whom there is none
    else:
        require(request.user, "read_files", repo)
        commit = reader_for(repo, request.user).resolve(revision)
    expires = int(time.time()) + LIFETIME_S
    claims = {"r": repo.pk, "u": name_speaker(request.user), "w": is_write, "c": commit, "e": expires}
    token = signing.dumps(claims, salt=SALT, compress=True)
    url = f"{base_url(request)}/xet"
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
    return answer({"accessToken": token, "exp": expires, "casUrl": url}, headers=headers)


issue_token = endpoint(GET=give_token)


def read_access(request: HttpRequest, *, write: bool = False) -> Access:
    """Whom the token of this request speaks for. Their rights are looked up again: they may be gone by now."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    try:
        claims = signing.loads(text.strip(), salt=SALT, max_age=LIFETIME_S) if scheme.lower() == "bearer" else None
    except signing.BadSignature:
        claims = None
    access = find_access(claims) if claims is not None else None
    if access is None:
        raise NotSignedIn("This token of the store is not valid any more; ask the hub for a new one.")
    if write and not access.is_write:
        raise Forbidden("This token of the store may only read.")
    return access


def find_access(claims: dict[str, Any]) -> Access | None:
    repo = Repo.objects.for_listing().filter(pk=claims["r"]).first()
    user = find_speaker(*claims["u"])
    if repo is None or user is None or not can(user, "propose" if claims["w"] else "read_files", repo):
        return None
    if claims["c"]:
        try:
            reader_for(repo, user).resolve(claims["c"])
        except RevisionNotFound:  # withdrawn since
            return None
    return Access(repo, user, claims["w"])


def sign_pieces(access: Access, sha256: str, xorb: str, parts: Parts) -> str:
    """For an address of exactly these bytes as part of this file: the rest of a xorb may belong to somebody else."""
    claims = [access.repo.pk, name_speaker(access.user), sha256, xorb, parts]
    return signing.dumps(claims, salt=f"{SALT}-data", compress=len(parts) > 1)


def read_allowed_pieces(signature: str, xorb: str) -> Parts:
    """What the address allows. Raises Forbidden, also when the file was withdrawn since."""
    try:
        repo_key, speaker, sha256, signed, parts = signing.loads(
            signature, salt=f"{SALT}-data", max_age=DATA_LIFETIME_S
        )
    except (signing.BadSignature, ValueError):
        raise Forbidden("This address has expired; ask for the file again.") from None
    if signed != xorb:
        raise Forbidden("This address was made for other bytes.")
    repo = Repo.objects.for_listing().filter(pk=repo_key).first()
    user = find_speaker(*speaker)
    if repo is None or user is None or not can(user, "read_files", repo) or not reader_for(repo, user).may_have(sha256):
        raise Forbidden("This file may not be read any more.")
    return [(int(start), int(end)) for start, end in parts]
