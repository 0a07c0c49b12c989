"""Folders and files of a revision."""

import mimetypes
import posixpath
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from hub.common.errors import Gated, HubError, InvalidInput, RevisionNotFound, Withheld
from hub.repos.cards import read_card
from hub.repos.largeness import is_text
from hub.repos.models import Content, Repo
from hub.repos.reader import MAX_TEXT_BYTES, LastChange, RepoReader
from hub.storage.git import TreeEntry
from hub.web.cards import render_readme
from hub.web.listings import cut_numbered_page
from hub.web.previews import MAX_BYTES, has_preview, read_table
from hub.web.repo_pages import render_repo_page, repo_page

PER_PAGE = 500
SHOWN_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml", "image/avif")
MAX_NAMES = 20_000  # handed to the file finder


@dataclass(frozen=True)
class Crumb:
    name: str
    address: str


@dataclass(frozen=True)
class FileRow:
    entry: TreeEntry
    name: str
    address: str
    change: LastChange | None
    content: Content | None  # its clearance, for members
    refusal: str = ""  # why this reader gets no bytes of it


@dataclass(frozen=True)
class Place:
    """A path at a revision, as the address names it."""

    repo: Repo
    revision: str
    commit: str
    path: str

    def address(self, page: str, path: str | None = None, revision: str | None = None) -> str:
        parts = [page, revision or self.revision, self.path if path is None else path]
        return f"{self.repo.path}/" + "/".join(quote(part) for part in parts if part)

    @property
    def crumbs(self) -> list[Crumb]:
        parts = self.path.split("/") if self.path else []
        found = [Crumb(self.repo.name, self.address("tree", ""))]
        return found + [
            Crumb(part, self.address("tree", "/".join(parts[: length + 1]))) for length, part in enumerate(parts)
        ]


def find_place(repo: Repo, reader: RepoReader, rest: str) -> Place:
    """An abbreviated id, as pages show it, is taken where no branch or tag has that name."""
    try:
        revision, commit, path = reader.resolve_longest(rest)
    except RevisionNotFound:
        first, _, path = rest.strip("/").partition("/")
        full = reader.find_abbreviated(first)
        if full is None:
            raise
        revision = commit = reader.resolve(full)
    return Place(repo, revision, commit, path)


def list_revisions(reader: RepoReader) -> dict[str, list[str]]:
    """Branches and tags for the selector."""
    refs = reader.refs()
    return {
        "branches": sorted(ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/")),
        "tags": sorted((ref.removeprefix("refs/tags/") for ref in refs if ref.startswith("refs/tags/")), reverse=True),
    }


@repo_page()
def show_tree(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str = "") -> HttpResponse:
    try:
        place = find_place(repo, reader, rest or repo.default_branch)
    except RevisionNotFound:
        if rest not in ("", repo.default_branch):
            raise
        return render_repo_page(request, repo, reader, "files/nothing.html", tab="/tree")
    if place.path and reader.entry(place.commit, place.path).type == "file":
        return HttpResponseRedirect(place.address("blob"))
    entries = reader.tree(place.commit, place.path)
    page = cut_numbered_page(request, sorted(entries, key=lambda entry: (entry.type == "file", entry.path)), PER_PAGE)
    return render_repo_page(
        request,
        repo,
        reader,
        "files/tree.html",
        tab="/tree",
        place=place,
        page=page,
        rows=list_rows(reader, place, list(page.object_list)),
        last=newest_commit(reader, place),
        total_bytes=sum(entry.size or 0 for entry in entries),
        revisions=list_revisions(reader),
        is_branch=f"refs/heads/{place.revision}" in reader.refs(),
        readme=read_folder_readme(reader, place, entries),
    )


def list_rows(reader: RepoReader, place: Place, entries: list[TreeEntry]) -> list[FileRow]:
    changes = reader.last_changes(place.commit, [entry.path for entry in entries])
    facts = reader.clearance(place.commit, entries)
    hides = reader.hides_large_files()
    return [
        FileRow(
            entry,
            posixpath.basename(entry.path),
            place.address("blob" if entry.type == "file" else "tree", entry.path),
            changes.get(entry.path),
            facts.get(entry.path),
            refusal_of(reader, entry) if hides and entry.lfs else "",
        )
        for entry in entries
    ]


def refusal_of(reader: RepoReader, entry: TreeEntry) -> str:
    try:
        reader.check_bytes(entry)
    except HubError as problem:
        return problem.message
    return ""


def newest_commit(reader: RepoReader, place: Place) -> Any:
    found = reader.history(place.commit, path=place.path or None, limit=1)
    return found[0] if found else None


def read_folder_readme(reader: RepoReader, place: Place, entries: list[TreeEntry]) -> Any:
    names = {posixpath.basename(entry.path): entry for entry in entries if entry.type == "file"}
    entry = names.get("README.md")
    if entry is None or (entry.size or 0) > MAX_TEXT_BYTES:
        return None
    try:
        text = reader.read_text(place.commit, entry.path)
    except HubError:
        return None
    body = read_card(text).body
    return render_readme(body, reader.repo, place.commit, place.path) if body.strip() else None


@repo_page()
def show_blob(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    place = find_place(repo, reader, rest)
    if not place.path:
        raise InvalidInput("This address names no file; open the files of the repository and choose one.")
    entry = reader.entry(place.commit, place.path)
    if entry.type != "file":
        return HttpResponseRedirect(place.address("tree"))
    is_branch = f"refs/heads/{place.revision}" in reader.refs()
    shown = read_shown(reader, place, entry, is_plain="plain" in request.GET)
    return render_repo_page(
        request,
        repo,
        reader,
        "files/blob.html",
        tab="/tree",
        place=place,
        entry=entry,
        content=reader.clearance(place.commit, [entry]).get(entry.path),
        last=newest_commit(reader, place),
        revisions=list_revisions(reader),
        is_editable=is_branch and "lines" in shown["kinds"],
        is_branch=is_branch,
        xet_hash=reader.xet_hash(entry.lfs.sha256) if entry.lfs and not shown["refusal"] else None,
        **shown,
    )


def read_shown(reader: RepoReader, place: Place, entry: TreeEntry, *, is_plain: bool) -> dict[str, Any]:
    """What the page of a file shows of its bytes: `kind` is one of `kinds`, each possible for this file."""
    shown: dict[str, Any] = {"kind": "nothing", "kinds": [], "refusal": ""}
    size = entry.size or 0
    try:
        reader.check_bytes(entry)
        if mimetypes.guess_type(entry.path)[0] in SHOWN_IMAGES:
            return {**shown, "kind": "image", "kinds": ["image"]}
        beginning = b"".join(reader.read_entry(place.commit, entry, 0, min(size, MAX_BYTES)))
    except (Gated, Withheld) as problem:
        return {**shown, "refusal": problem.message}
    if not is_text(beginning[:65_536]):
        return shown
    is_whole = size <= len(beginning)
    kinds = []
    if has_preview(entry.path):
        kinds.append("table")
    if entry.path.lower().endswith((".md", ".markdown")) and is_whole:
        kinds.append("text")
    if is_whole:
        kinds.append("lines")
    shown["kinds"] = kinds
    if not kinds:
        return shown
    shown["kind"] = "lines" if is_plain and "lines" in kinds else kinds[0]
    return {**shown, **draw(shown["kind"], place, entry, beginning, is_whole)}


def draw(kind: str, place: Place, entry: TreeEntry, data: bytes, is_whole: bool) -> dict[str, Any]:
    if kind == "table":
        return {"table": read_table(entry.path, data, is_whole=is_whole)}
    text = data.decode("utf-8", errors="replace")
    if kind == "text":
        card = read_card(text)
        return {"card": card, "text": render_readme(card.body, place.repo, place.commit, posixpath.dirname(entry.path))}
    return {"lines": text.removesuffix("\n").split("\n")}


@repo_page()
def list_names(request: HttpRequest, repo: Repo, reader: RepoReader, rest: str) -> HttpResponse:
    """All paths of a revision, for the file finder (key `t`)."""
    place = find_place(repo, reader, rest)
    entries = reader.tree(place.commit, recursive=True)
    paths = [entry.path for entry in entries if entry.type == "file"][:MAX_NAMES]
    return JsonResponse({"base": place.address("blob", ""), "paths": paths})
