"""Repositories begin, move, change their settings and end; and who may do what with them."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from hub.accounts.permissions import require
from hub.api.addresses import absolute
from hub.api.hf.endpoints import answer, endpoint, read_json, signed_in, text_of, with_repo
from hub.common.errors import Conflict, InvalidInput, NotSupported
from hub.repos import duplicates, lifecycle
from hub.repos.find import find_repo, lookup
from hub.repos.models import Repo

SPACE_KEYS = {"hardware", "sleepTimeSeconds", "secrets", "variables", "volumes"}


def read_visibility(body: dict[str, Any]) -> bool | None:
    """Whether private; None when nothing is said. New clients send `visibility`, older ones `private`."""
    visibility, private = body.get("visibility"), body.get("private")
    if visibility is not None:
        if visibility not in ("public", "private"):
            raise InvalidInput(f"The visibility {visibility!r} does not exist here; use public or private.")
        return visibility == "private"
    if private is not None and not isinstance(private, bool):
        raise InvalidInput("'private' must be true or false.")
    return private


def read_type(body: dict[str, Any]) -> str:
    type = body.get("type") or "model"
    if type == "bucket":
        raise NotSupported("This hub has no buckets; upload to a dataset repository instead.")
    if type not in Repo.Type.values:
        raise InvalidInput(f"The repository type {type!r} does not exist here; use model, dataset or space.")
    return type


def read_full_name(request: HttpRequest, body: dict[str, Any]) -> str:
    """`{name, organization}`, or the whole NAMESPACE/NAME in `name`."""
    name = text_of(body, "name")
    if "/" in name:
        return name
    return f"{body.get('organization') or request.user.username}/{name}"


@signed_in
def create_repo(request: HttpRequest) -> HttpResponse:
    body = read_json(request)
    type = read_type(body)
    namespace, _, name = read_full_name(request, body).partition("/")
    try:
        repo = lifecycle.create_repo(
            type=type,
            name=name,
            by=request.user,
            owner=lifecycle.owner_for(namespace, request.user),
            is_private=read_visibility(body),
        )
    except Conflict as problem:
        tell_existing(request, problem, type, f"{namespace}/{name}")
        raise
    return answer({"url": absolute(request, repo.path), "name": repo.full_name, "id": repo.key})


@signed_in
def delete_repo(request: HttpRequest) -> HttpResponse:
    body = read_json(request)
    repo = find_repo(read_type(body), read_full_name(request, body), request.user, action="admin")
    lifecycle.delete_repo(repo=repo, by=request.user)
    return answer({"success": True})


@signed_in
def move_repo(request: HttpRequest) -> HttpResponse:
    body = read_json(request)
    repo = find_repo(read_type(body), text_of(body, "fromRepo"), request.user, action="admin")
    to = text_of(body, "toRepo")
    if to.count("/") != 1:
        raise InvalidInput(f"{to!r} is no repository name; write NAMESPACE/NAME.")
    moved = lifecycle.move_repo(repo=repo, to=to, by=request.user)
    return answer({"success": True, "url": absolute(request, moved.path)})


@signed_in
@with_repo(action="admin")
def change_settings(request: HttpRequest, repo: Repo) -> HttpResponse:
    body = read_json(request)
    changes: dict[str, Any] = {}
    is_private = read_visibility(body)
    if is_private is not None:
        changes["is_private"] = is_private
    if "gated" in body:
        changes["gated"] = body["gated"] or ""
    if isinstance(body.get("description"), str):
        changes["description"] = body["description"][:300]
    if not changes:
        raise InvalidInput("Nothing to change: send 'visibility', 'gated' or 'description'.")
    changed = lifecycle.update_settings(repo=repo, by=request.user, **changes)
    return answer({"private": changed.is_private, "gated": changed.gated or False})


@with_repo(action="read_files")
def check_access(request: HttpRequest, repo: Repo) -> HttpResponse:
    return answer({"success": True})


@signed_in
@with_repo()
def check_write_access(request: HttpRequest, repo: Repo) -> HttpResponse:
    require(request.user, "write", repo)
    return answer({"success": True})


@signed_in
@with_repo()
def duplicate_repo(request: HttpRequest, repo: Repo) -> HttpResponse:
    body = read_json(request)
    if unknown := sorted(set(body) & SPACE_KEYS):
        raise NotSupported(f"Spaces are not run on this hub, so {unknown[0]!r} means nothing here; leave it out.")
    namespace, _, name = text_of(body, "repository").rpartition("/")
    try:
        made = duplicates.duplicate_repo(
            source=repo,
            by=request.user,
            name=name,
            owner=lifecycle.owner_for(namespace or request.user.username, request.user),
            is_private=read_visibility(body),
        )
    except Conflict as problem:
        tell_existing(request, problem, repo.type, f"{namespace or request.user.username}/{name}")
        raise
    return answer({"url": absolute(request, made.path), "name": made.full_name, "filesCopyPending": False})


def tell_existing(request: HttpRequest, problem: Conflict, type: str, full_name: str) -> None:
    """`exist_ok=True` reads the address of what is there from the refusal."""
    existing = lookup(type, full_name)
    if existing is not None:
        problem.extra = {"url": absolute(request, existing.path), "name": existing.full_name}


create = endpoint(POST=create_repo)
delete = endpoint(DELETE=delete_repo)
move = endpoint(POST=move_repo)
settings = endpoint(PUT=change_settings)
auth_check = endpoint(GET=check_access)
auth_check_write = endpoint(GET=check_write_access)
duplicate = endpoint(POST=duplicate_repo)
