"""Listing what a revision holds: the tree, page by page, and single paths."""

from django.http import HttpRequest, HttpResponse

from hub.api.addresses import next_page
from hub.api.hf.endpoints import answer, endpoint, flag_of, open_reader, read_json, with_repo
from hub.api.hf.entries import describe_entries, readable
from hub.common.errors import EntryNotFound, InvalidInput, RevisionNotFound
from hub.common.paging import read_limit, read_number
from hub.repos.models import Repo
from hub.repos.reader import RepoReader

PAGE = 1000  # entries
MAX_PATHS = 2000


@with_repo()
def list_tree(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    reader = open_reader(request, repo)
    expand = flag_of(request.GET.get("expand"))
    _, commit, path = reader.resolve_longest(rest)
    commit, start = read_cursor(reader, request.GET.get("cursor"), commit)
    limit = read_limit(request, default=PAGE, most=PAGE)
    recursive = flag_of(request.GET.get("recursive"))
    if reader.hides_large_files():
        entries = readable(reader, reader.tree(commit, path, recursive=recursive))
        page, total = entries[start : start + limit], len(entries)
    else:
        page, total = reader.tree_page(commit, path, recursive=recursive, start=start, limit=limit)
        page = readable(reader, page)
    headers = {"X-Repo-Commit": commit, "X-Total-Count": str(total)}
    if start + limit < total:
        headers["Link"] = next_page(request, cursor=f"{commit}:{start + limit}")
    return answer(describe_entries(reader, commit, page, expand=expand), headers=headers)


def read_cursor(reader: RepoReader, cursor: str | None, commit: str) -> tuple[str, int]:
    """A cursor names the commit of the first page, so that a push between two pages tears nothing."""
    if not cursor:
        return commit, 0
    pinned, _, start = cursor.partition(":")
    first = read_number(start)
    if first is None:
        raise InvalidInput("The cursor is not one of this hub; start again without it.")
    return reader.resolve(pinned), first


@with_repo()
def describe_paths(request: HttpRequest, repo: Repo, *, rest: str) -> HttpResponse:
    """Missing paths are left out of the answer. The client sends a form, others may send JSON."""
    if (request.content_type or "").endswith("json"):
        body = read_json(request)
        paths, expand = body.get("paths"), flag_of(body.get("expand"))
        paths = [paths] if isinstance(paths, str) else paths
    else:
        paths, expand = request.POST.getlist("paths"), flag_of(request.POST.get("expand"))
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InvalidInput("Name the paths you ask for: paths=a.txt&paths=folder/b.txt")
    if len(paths) > MAX_PATHS:
        raise InvalidInput(f"{len(paths):,} paths were asked for; ask for at most {MAX_PATHS:,} at once.")
    reader = open_reader(request, repo)
    commit = resolve_whole(reader, rest)
    entries = []
    for path in dict.fromkeys(path.strip("/") for path in paths):
        try:
            entries.append(reader.entry(commit, path))
        except EntryNotFound:
            continue
    entries = readable(reader, entries)
    headers = {"X-Repo-Commit": commit}
    return answer(describe_entries(reader, commit, entries, expand=expand), headers=headers)


def resolve_whole(reader: RepoReader, rest: str) -> str:
    """The commit of an address that ends in a revision: all of it is the name."""
    name = rest.strip("/")
    if not name:
        raise RevisionNotFound("Name a revision.")
    return reader.resolve(name)


tree = endpoint(GET=list_tree)
paths_info = endpoint(POST=describe_paths)
