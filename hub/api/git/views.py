"""git over HTTP. Members fetch from the members' repository, everybody else from the public one."""

from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from hub.accounts.permissions import can, refuse_files
from hub.api.addresses import absolute
from hub.api.auth import NO_CACHE, answer_git, speaks_git
from hub.api.hf.endpoints import View, endpoint, open_body
from hub.common.errors import Disabled, Forbidden, HubError, InvalidInput, NotFound, NotSignedIn
from hub.common.waiting import giving_way
from hub.community.pushes import PushJudge, visible_refs
from hub.repos.find import find_repo
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.errors import StorageError, TooLarge
from hub.storage.git import GitRepo
from hub.storage.git.packets import Readable
from hub.storage.git.wire import MAX_PUSH_BYTES, MAX_REQUEST_BYTES, GzipBody, advertise, receive
from hub.storage.git.wire import upload_pack as answer_fetch

TYPES = {None: "model", "datasets": "dataset", "spaces": "space"}
CHALLENGE = {"WWW-Authenticate": 'Basic realm="Model Commons"'}


def open_repo(
    request: HttpRequest, *, namespace: str, name: str, prefix: str | None = None, way: str | None = None
) -> Repo:
    """The repository for reading. Anonymous callers of a private one are asked to sign in, as git expects; those who
    are signed in and may not read it get 404. The members' way in asks everybody."""
    if way and not request.user.is_authenticated:
        raise NotSignedIn("This address is for members; sign in with a token as password.", headers=CHALLENGE)
    try:
        return find_repo(TYPES[prefix], f"{namespace}/{name}", request.user)
    except (NotFound, Disabled) as problem:
        if request.user.is_authenticated:
            raise
        raise NotSignedIn(f"{problem.message} Sign in with a token as password.", headers=CHALLENGE) from None


def half_for(repo: Repo, user: Any) -> GitRepo:
    both = pair(repo)
    return both.members if can(user, "read_members", repo) else both.public


def require_reader(request: HttpRequest, repo: Repo) -> None:
    """git fetches all or nothing, so a gated repository opens to who was let in. git asks for a password at a 401 only."""
    if can(request.user, "read_files", repo):
        return
    refusal = refuse_files(request.user, repo)
    if not request.user.is_authenticated:
        refusal.headers = dict(CHALLENGE)
    raise refusal


def require_pusher(request: HttpRequest, repo: Repo) -> None:
    if not request.user.is_authenticated:
        raise NotSignedIn("Pushing needs a token as password.", headers=CHALLENGE)
    require_reader(request, repo)
    if not can(request.user, "propose", repo):
        raise Forbidden("This token may only read; make one with the role 'write' in your settings.")


def read_body(request: HttpRequest, *, limit: int) -> Readable:
    """Bodies of git: chunked when they are long, compressed when they are fetches."""
    body = open_body(request, limit=limit)
    is_gzip = request.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
    return GzipBody(body) if is_gzip else body


def is_shown(ref: str) -> bool:
    """Candidates are the hub's own; members see them on pages and by API."""
    return not ref.startswith("refs/convert/")


def answer_info_refs(request: HttpRequest, **address: str) -> HttpResponse:
    service = request.GET.get("service", "")
    if service not in ("git-upload-pack", "git-receive-pack"):
        raise InvalidInput("This hub speaks git's smart protocol only; use git 1.6.6 or newer.")
    repo = open_repo(request, **address)
    protocol = request.headers.get("Git-Protocol")
    if service == "git-upload-pack":
        require_reader(request, repo)
        body = advertise(half_for(repo, request.user), service, protocol=protocol)
    else:
        require_pusher(request, repo)
        visible, public = pushers_view(repo, request.user)
        body = advertise(pair(repo).members, service, protocol=protocol, visible=visible, public=public)
    return HttpResponse(body, content_type=f"application/x-{service}-advertisement", headers=NO_CACHE)


def pushers_view(repo: Repo, user: Any) -> tuple[Any, GitRepo | None]:
    visible = visible_refs(repo, user)
    if visible is None:
        return is_shown, None
    return visible, pair(repo).public


def answer_upload_pack(request: HttpRequest, **address: str) -> HttpResponse:
    repo = open_repo(request, **address)
    require_reader(request, repo)
    try:
        pieces = answer_fetch(
            half_for(repo, request.user),
            read_body(request, limit=MAX_REQUEST_BYTES),
            protocol=request.headers.get("Git-Protocol"),
        )
    except TooLarge as problem:
        raise InvalidInput(str(problem)) from None
    return StreamingHttpResponse(pieces, content_type="application/x-git-upload-pack-result", headers=NO_CACHE)


def answer_receive_pack(request: HttpRequest, **address: str) -> HttpResponse:
    repo = open_repo(request, **address)
    require_pusher(request, repo)
    judge = PushJudge(repo, request.user, address=lambda path: absolute(request, path))  # type: ignore[arg-type]
    visible, public = pushers_view(repo, request.user)
    try:
        body = receive(
            pair(repo).members,
            read_body(request, limit=MAX_PUSH_BYTES),
            judge=judge.judge,
            limit_bytes=MAX_PUSH_BYTES,
            visible=visible,
            public=public,
            after=judge.after,
            unpacking=giving_way,
        )
    except StorageError as problem:
        raise InvalidInput(str(problem)) from None
    return HttpResponse(body, content_type="application/x-git-receive-pack-result", headers=NO_CACHE)


def speak_to_git(view: View) -> View:
    """Refusals as git shows them."""

    def call(request: HttpRequest, **address: str) -> HttpResponse:
        try:
            return view(request, **address)
        except HubError as problem:
            return answer_git(problem)

    return call


info_refs = speaks_git(endpoint(GET=speak_to_git(answer_info_refs)))
upload_pack = speaks_git(endpoint(POST=speak_to_git(answer_upload_pack)))
receive_pack = speaks_git(endpoint(POST=speak_to_git(answer_receive_pack)))
