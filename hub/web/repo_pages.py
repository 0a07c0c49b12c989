"""The frame around every page of a repository: find it, name it as it is named now, draw its head and tabs.

    @repo_page()
    def show_runs(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
        return render_repo_page(request, repo, reader, "training/runs.html", tab="/runs", runs=...)

The address must capture `type`, `namespace` and `name`; the template extends "repos/frame.html" and fills `panel`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.conf import settings
from django.db.models import Count, prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.safestring import mark_safe

from hub.accounts.models import User
from hub.accounts.permissions import can
from hub.common.errors import Forbidden, NotSignedIn
from hub.common.markdown import render_markdown
from hub.community.contributions import reader_for
from hub.community.discussions import visible_discussions
from hub.community.models import Like
from hub.repos.access_models import AccessRequest
from hub.repos.find import find_repo
from hub.repos.gating import find_own, read_gate
from hub.repos.models import Repo
from hub.repos.reader import RepoReader
from hub.web.panels import tabs_of

P = ParamSpec("P")
Page = Callable[Concatenate[HttpRequest, Repo, RepoReader, P], HttpResponse]
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class TabLink:
    title: str
    icon: str
    address: str
    count: int | None
    is_current: bool


def repo_page(action: str = "read") -> Callable[[Page[P]], Callable[..., HttpResponse]]:
    """Hand the view the repository and a reader, if this person may do `action`. An old name or another case leads on."""

    def decorate(view: Page[P]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def find_and_show(
            request: HttpRequest, type: str, namespace: str, name: str, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponse:
            asked = f"{namespace}/{name}"
            repo = find_repo(type, asked, request.user, action=action)
            if repo.full_name != asked and request.method in ("GET", "HEAD"):
                rest = request.get_full_path()[len(f"/{PREFIXES[type]}{asked}") :]
                return HttpResponseRedirect(repo.path + rest)
            prefetch_related_objects([repo], "collaborators")  # the rule book asks for them several times
            return view(request, repo, reader_for(repo, request.user), *args, **kwargs)

        return find_and_show

    return decorate


def site_address(request: HttpRequest) -> str:
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def require_sign_in(request: HttpRequest) -> User:
    """Who asks, or NotSignedIn."""
    if not isinstance(request.user, User):
        raise NotSignedIn("Sign in to do this.")
    return request.user


def require_browser(request: HttpRequest) -> User:
    """Signed in with a session. A token must not make tokens, change passwords or approve other programs."""
    user = require_sign_in(request)
    if getattr(user, "token", None) is not None:
        raise Forbidden("This page is for a person in a browser; an access token does not open it.")
    return user


def render_repo_page(
    request: HttpRequest,
    repo: Repo,
    reader: RepoReader,
    template: str,
    *,
    tab: str,
    status: int = 200,
    **context: Any,
) -> HttpResponse:
    """`tab` is the path suffix of the tab that is open: "" (card), "/tree", "/proposals", "/discussions", "/settings" or one's own."""
    frame = {
        "repo": repo,
        "reader": reader,
        "place": repo.type,
        "tabs": list_tabs(request, repo, tab),
        "may_write": can(request.user, "write", repo),
        "may_admin": can(request.user, "admin", repo),
        "may_propose": can(request.user, "propose", repo),
        "is_liked": is_liked(request, repo),
        "gate": describe_gate(request, repo, reader) if repo.gated and tab in ("", "/tree") else None,
    }
    return render(request, template, {**frame, **context}, status=status)


def describe_gate(request: HttpRequest, repo: Repo, reader: RepoReader) -> dict[str, Any] | None:
    """What stands between this person and the files, or for who decides how many wait; None where there is nothing to say."""
    if can(request.user, "write", repo):
        waiting = AccessRequest.objects.filter(repo=repo, status=AccessRequest.Status.PENDING).count()
        return {"waiting": waiting} if waiting else None
    if reader.may_read_files:
        return None
    gate = read_gate(repo.card)
    prompt = mark_safe(render_markdown(gate.prompt)) if gate.prompt else ""  # noqa: S308  render_markdown sanitised it
    return {"asks": gate, "prompt": prompt, "request": find_own(repo, request.user)}


def list_tabs(request: HttpRequest, repo: Repo, current: str) -> list[TabLink]:
    counts = count_open(request, repo)
    rows: list[tuple[str, str, str, str, int | None]] = [
        ("Card", "info", "", "", None),
        ("Files", "folder", "/tree", f"/tree/{repo.default_branch}", None),
        ("Proposals", "proposal", "/proposals", "/discussions?kind=proposals", counts.get(True)),
        ("Community", "comment", "/discussions", "/discussions", counts.get(False)),
    ]
    for extra in tabs_of(request, repo):
        rows.append((extra.title, "list", extra.path_suffix, extra.path_suffix, extra.count(request, repo)))
    if current == "/storage":  # reached from the card; a tab of its own only while it is open
        rows.append(("Storage", "list", "/storage", "/storage", None))
    if can(request.user, "admin", repo):
        rows.append(("Settings", "settings", "/settings", "/settings", None))
    return [
        TabLink(title, icon, repo.path + address, count, suffix == current)
        for title, icon, suffix, address, count in rows
    ]


def count_open(request: HttpRequest, repo: Repo) -> dict[bool, int]:
    """Open discussions by `is_pull_request`."""
    rows = visible_discussions(repo, request.user).filter(status__in=("open", "draft"))
    counted = rows.order_by().values("is_pull_request").annotate(count=Count("pk"))
    return {row["is_pull_request"]: row["count"] for row in counted}


def is_liked(request: HttpRequest, repo: Repo) -> bool:
    return bool(request.user.is_authenticated) and Like.objects.filter(repo=repo, user=request.user).exists()
