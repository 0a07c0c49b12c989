"""Purging files from a history, on pages: choose, see what would happen, type the name; then what was done. For admins."""

from typing import Any

from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_http_methods

from hub.accounts.permissions import can
from hub.common.errors import HubError
from hub.repos.models import Content, Repo, RevisionContent
from hub.repos.purge_models import Purge
from hub.repos.purging import Preview, find_purge, preview_purge, purge_files
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in

SHOWN = 50
MAX_LOOKED_UP = 500  # contents that are looked for in other repositories


@require_http_methods(["GET", "HEAD", "POST"])
@repo_page(action="admin")
def show_purges(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """GET with `path` or `digest`: the rehearsal. POST: the same with the typed name."""
    given = request.POST if request.method == "POST" else request.GET
    path, digest = given.get("path", "").strip().replace("\0", ""), given.get("digest", "").strip()
    wanted = {"paths": [path] if path and not digest else [], "digests": [digest] if digest else []}
    preview: Preview | None = None
    problem, status = "", 200
    try:
        if request.method == "POST":
            by = require_sign_in(request)
            if request.POST.get("typed_name", "").strip() == repo.full_name:
                made = purge_files(repo=repo, by=by, **wanted)
                return HttpResponseRedirect(f"{repo.path}/settings/purge/{made.key}")
            problem, status = f"Nothing was purged: type {repo.full_name} to confirm.", 400
        if wanted["paths"] or wanted["digests"]:
            preview = preview_purge(repo=repo, by=request.user, **wanted)  # type: ignore[arg-type]
    except HubError as refusal:
        problem, status = refusal.message, refusal.status
    except StorageError as refusal:
        problem, status = str(refusal), 400
    return render_repo_page(
        request,
        repo,
        reader,
        "repos/purge.html",
        tab="/settings",
        status=status,
        path=path,
        digest=digest,
        preview=preview,
        elsewhere=find_elsewhere(repo, request.user, preview) if preview else [],
        count=len(preview.commits) if preview else 0,
        shown_paths=preview.paths[:SHOWN] if preview else [],
        problem=problem,
        findings=list_findings(repo),
        earlier=Purge.objects.filter(repo=repo).select_related("by").order_by("-pk")[:SHOWN],
    )


def find_elsewhere(repo: Repo, user: Any, preview: Preview) -> list[Repo]:
    """Other repositories that this person administers and that hold some of the same contents."""
    theirs = Repo.objects.filter(
        Q(owner_user=user)
        | Q(owner_organization__memberships__user=user, owner_organization__memberships__role="admin")
        | Q(collaborators__user=user, collaborators__role="admin")
    )
    names = [*(f"sha256:{sha256}" for sha256 in preview.files), *(f"git:{oid}" for oid in preview.blobs)][
        :MAX_LOOKED_UP
    ]
    held = Content.objects.filter(digest__in=names).exclude(repo=repo).values("repo")
    found = theirs.filter(pk__in=held).select_related("owner_user", "owner_organization").distinct()
    return [row for row in found[:SHOWN] if can(user, "admin", row)]


def list_findings(repo: Repo) -> list[dict[str, Any]]:
    """What the screens or moderators withhold here, with a commit that brought it."""
    rows = Content.objects.filter(repo=repo, clearance=Content.Clearance.WITHHELD).order_by("-pk")[:SHOWN]
    found = []
    for row in rows:
        brought = RevisionContent.objects.filter(content=row).order_by("pk")
        commit = brought.values_list("revision__commit", flat=True).first()
        found.append({"content": row, "commit": commit or "", "digest": row.digest.partition("#")[0]})
    return found


@repo_page(action="admin")
def show_purge(request: HttpRequest, repo: Repo, reader: RepoReader, key: str) -> HttpResponse:
    row = find_purge(repo, key)
    refs = [(ref, *ids) for ref, ids in sorted(row.result.get("refs", {}).items())]
    return render_repo_page(
        request, repo, reader, "repos/purge_done.html", tab="/settings", purge=row, refs=refs, paths=row.paths[:SHOWN]
    )
