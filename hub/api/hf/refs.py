"""Branches, tags and history."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.api.addresses import next_page
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, read_json, signed_in, text_of, with_repo
from hub.api.hf.times import format_time
from hub.api.hf.tree import resolve_whole
from hub.common.paging import cut_page, read_limit, read_number
from hub.repos import refs as rules
from hub.repos.models import Repo, Revision
from hub.storage.git import CommitInfo

PAGE = 50
MAX_PAGES = 100_000


@with_repo()
def list_refs(request: HttpRequest, repo: Repo) -> HttpResponse:
    groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    prefixes = {
        "refs/heads/": "branches",
        "refs/tags/": "tags",
        "refs/convert/": "converts",
        "refs/pr/": "pullRequests",
    }
    for ref, commit in sorted(open_reader(request, repo).refs().items()):
        for prefix, group in prefixes.items():
            if ref.startswith(prefix):
                groups[group].append({"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit})
    if not flag_of(request.GET.get("include_prs")):
        del groups["pullRequests"]
    return answer(groups)


@with_repo()
def list_commits(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    reader = open_reader(request, repo)
    commit = resolve_whole(reader, rest)
    limit = read_limit(request, default=PAGE, most=1000)
    page = min(read_number(request.GET.get("p", "0")) or 0, MAX_PAGES)
    found, has_more = cut_page(reader.history(commit, skip=page * limit, limit=limit + 1), limit=limit)
    headers = {"Link": next_page(request, p=page + 1)} if has_more else None
    names = credited_names(repo, [info.oid for info in found])
    return answer([describe_commit(info, names.get(info.oid)) for info in found], headers=headers)


def credited_names(repo: Repo, oids: list[str]) -> dict[str, str]:
    """commit -> who is credited: the person who was signed in, whatever git's author field says."""
    rows = Revision.objects.filter(repo=repo, commit__in=oids[:900], author__isnull=False)
    return dict(rows.values_list("commit", "author__username"))


def describe_commit(info: CommitInfo, name: str | None) -> dict[str, Any]:
    return {
        "id": info.oid,
        "title": info.title,
        "message": info.message,
        "authors": [{"user": name or info.author.name, "avatar": ""}],
        "date": format_time(info.date),
        "parents": list(info.parents),
        "formatted": {"title": info.title, "message": info.message},
    }


@signed_in
@with_repo(action="write")
def add_branch(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    start = text_of(read_json(request), "startingPoint", default="") or repo.default_branch
    commit = open_reader(request, repo).resolve(start)
    ref = rules.create_branch(repo=repo, by=request.user, name=rest, start=commit)
    return answer({"name": rest, "ref": ref, "targetCommit": commit})


@signed_in
@with_repo(action="write")
def remove_branch(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    rules.delete_branch(repo=repo, by=request.user, name=rest)
    return answer({"success": True})


@signed_in
@with_repo(action="write")
def add_tag(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    """The address names the revision, the body the tag."""
    name = text_of(read_json(request), "tag")
    commit = open_reader(request, repo).resolve(rest)
    ref = rules.create_tag(repo=repo, by=request.user, name=name, start=commit)
    return answer({"name": name, "ref": ref, "targetCommit": commit})


@signed_in
@with_repo(action="write")
def remove_tag(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    rules.delete_tag(repo=repo, by=request.user, name=rest)
    return answer({"success": True})


@signed_in
@with_repo(action="write")
def squash_branch(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    message = text_of(read_json(request), "message", default="")
    commit = rules.squash_branch(repo=repo, by=request.user, name=rest, message=message)
    return answer({"success": True, "commitOid": commit})


refs = endpoint(GET=list_refs)
commits = endpoint(GET=list_commits)
branch = endpoint(POST=add_branch, DELETE=remove_branch)
tag = endpoint(POST=add_tag, DELETE=remove_tag)
super_squash = endpoint(POST=squash_branch)
