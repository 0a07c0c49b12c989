"""What a repository takes, what storing contents once saves, and the room that is left: for its members. To measure it costs
too much to do it for everybody, and names of files that nobody cleared stand in it."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.repos.footprints import measure_repo
from hub.repos.models import Repo
from hub.repos.quotas import Limit, limit_of, name_of
from hub.repos.reader import RepoReader
from hub.web.repo_pages import render_repo_page, repo_page


@repo_page()
def show_storage(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    limits = [limit_of(repo.owner), limit_of(repo)] if reader.is_member else []
    told = measure_repo(reader) if reader.is_member else None
    return render_repo_page(
        request,
        repo,
        reader,
        "repos/storage.html",
        tab="/storage",
        told=told,
        limits=[describe(limit) for limit in limits if limit.max_bytes is not None],
    )


def describe(limit: Limit) -> dict[str, Any]:
    used, most = limit.used_bytes, limit.max_bytes or 0
    percent = round(100 * used / most) if most else 100
    return {"name": name_of(limit.holder), "used": used, "most": most, "percent": percent, "is_full": used >= most}
