"""History: the list of commits, and what one of them changed."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.common.paging import read_number
from hub.repos.models import Repo, Revision
from hub.repos.reader import RepoReader
from hub.storage.git import CommitInfo
from hub.web.diffs import read_diff
from hub.web.files import find_place, list_revisions
from hub.web.repo_pages import render_repo_page, repo_page

PER_PAGE = 30


@repo_page()
def list_commits(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    place = find_place(repo, reader, rest)
    page = min(read_number(request.GET.get("page", "1")) or 1, 1000)
    found = reader.history(place.commit, path=place.path or None, skip=(page - 1) * PER_PAGE, limit=PER_PAGE + 1)
    commits = found[:PER_PAGE]
    return render_repo_page(
        request,
        repo,
        reader,
        "files/commits.html",
        tab="/tree",
        place=place,
        commits=commits,
        credits=credit_people(repo, commits),
        page_number=page,
        has_next=len(found) > PER_PAGE,
        revisions=list_revisions(reader),
        tags=tags_by_commit(reader),
    )


def credit_people(repo: Repo, commits: list[CommitInfo]) -> dict[str, Any]:
    """commit -> the person who is credited: the authenticated one, not what git's author field says."""
    oids = [commit.oid for commit in commits]
    rows = Revision.objects.filter(repo=repo, commit__in=oids, author__isnull=False).select_related("author")
    return {row.commit: row.author for row in rows}


def tags_by_commit(reader: RepoReader) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for ref, oid in reader.refs().items():
        if ref.startswith("refs/tags/"):
            found.setdefault(oid, []).append(ref.removeprefix("refs/tags/"))
    return found


@repo_page()
def show_commit(request: HttpRequest, repo: Repo, reader: RepoReader, sha: str) -> HttpResponse:
    commit = reader.resolve(reader.find_abbreviated(sha) or sha)
    info = reader.commit_info(commit)
    return render_repo_page(
        request,
        repo,
        reader,
        "files/commit.html",
        tab="/tree",
        info=info,
        person=credit_people(repo, [info]).get(commit),
        diff=read_diff(reader, info.parents[0] if info.parents else None, commit),
        waiting=reader.waiting(commit) if reader.is_member else [],
        tags=tags_by_commit(reader).get(commit, []),
    )
