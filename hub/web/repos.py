"""The front page of a repository (its card), likes, and making a new one."""

from typing import Any

from django.contrib import messages
from django.core.cache import cache
from django.db import transaction
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_POST

from hub.accounts.models import Membership, Organization, User
from hub.accounts.permissions import require
from hub.common.errors import HubError, NotFound
from hub.community.leaderboards import Place, holding_weights, make_boards, measures_of, rows_of, with_weights
from hub.community.models import Like
from hub.repos.lifecycle import create_repo, owner_for
from hub.repos.models import Content, Repo
from hub.repos.places import store
from hub.repos.reader import RepoReader
from hub.storage.errors import StorageError
from hub.storage.git import TreeEntry
from hub.storage.safetensors_header import count_parameters, read_header
from hub.web.cards import describe_card, open_card, render_readme
from hub.web.forms import NewRepoForm
from hub.web.repo_pages import render_repo_page, repo_page, require_sign_in, site_address
from hub.web.snippets import list_snippets

SHOWN_PLACES = 5  # of the leaderboard, beside the card
MAX_WEIGHT_FILES = 64  # whose headers are read for the parameter count


@repo_page()
def show_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    card, commit = open_card(reader)
    entries = reader.tree(commit) if commit else []
    files = {entry.path for entry in entries}
    metadata = card.metadata if card else {}
    return render_repo_page(
        request,
        repo,
        reader,
        "repos/card.html",
        tab="",
        commit=commit,
        card=card,
        text=render_readme(card.body, repo, commit) if card and card.body.strip() else None,
        chips=describe_card(metadata, repo),
        snippets=list_snippets(
            repo,
            site_address(request),
            files,
            metadata=metadata,
            is_member=reader.is_member,
            has_weights=repo.type != "model" or repo.pk in holding_weights({repo.pk}),
        ),
        board=describe_board(repo, request.user),
        parameters=measure_model(reader, entries) if repo.type == "model" else None,
        waiting=count_waiting(reader),
        behind=count_behind(reader),
        is_empty=not files - {".gitattributes", "README.md"},
    )


def describe_board(repo: Repo, user: Any) -> tuple[str, list[Place], set[int]] | None:
    """The first task of the leaderboard, its best places and which of these models hold weights; None where no model names
    this dataset."""
    rows = rows_of(repo, user)
    boards = make_boards(rows, measures=measures_of(repo, rows))
    task, places = next(iter(boards.items()), ("", []))
    places = places[:SHOWN_PLACES]
    return (task, places, with_weights(place.result for place in places)) if places else None


def count_waiting(reader: RepoReader) -> dict[str, int]:
    """How many contents are pending or withheld; for members, who see why on the file's page."""
    if not reader.is_member:
        return {}
    rows = Content.objects.filter(repo=reader.repo).exclude(clearance=Content.Clearance.CLEARED)
    rows = rows.exclude(added_by__is_system=True)  # what the hub made waits for a release, not for a screen
    return {row["clearance"]: row["count"] for row in rows.values("clearance").annotate(count=Count("pk"))}


def count_behind(reader: RepoReader) -> int:
    """Commits of the main branch that strangers do not see yet; for members of a public repository."""
    repo = reader.repo
    if not reader.is_member or repo.is_private or not repo.public_head or repo.public_head == repo.head:
        return 0
    return len(reader.git.ancestors_not_in(repo.head, [repo.public_head]))


def measure_model(reader: RepoReader, entries: list[TreeEntry]) -> dict[str, Any] | None:
    """{"total", "parameters": {dtype: count}} from the headers of the safetensors files, or None."""
    weights = [entry for entry in entries if entry.lfs and entry.path.endswith(".safetensors")]
    if not weights or len(weights) > MAX_WEIGHT_FILES:
        return None
    total: dict[str, int] = {}
    try:
        for entry in weights:
            reader.check_bytes(entry)
            for dtype, count in count_file(entry.lfs.sha256).items():  # type: ignore[union-attr]
                total[dtype] = total.get(dtype, 0) + count
    except (HubError, StorageError):  # withheld or malformed: the page simply does not state a size
        return None
    return {"total": sum(total.values()), "parameters": total}


def count_file(sha256: str) -> dict[str, int]:
    """dtype -> parameters of one file; its digest names its bytes, so the answer is kept."""
    key = f"parameters:{sha256}"
    found: dict[str, int] | None = cache.get(key)
    if found is None:
        with store().open(sha256) as file:
            found = dict(count_parameters(read_header(file))["parameters"])
        cache.set(key, found, timeout=24 * 3600)
    return found


@require_POST
@repo_page(action="like")
def like_repo(request: HttpRequest, repo: Repo, reader: RepoReader) -> HttpResponse:
    """Like, or take the like back."""
    with transaction.atomic():
        Repo.objects.select_for_update().get(pk=repo.pk)
        like, made = Like.objects.get_or_create(repo=repo, user=request.user)
        if not made:
            like.delete()
        Repo.objects.filter(pk=repo.pk).update(likes=repo.liked_by.count())
    return HttpResponseRedirect(repo.path)


def choose_new(request: HttpRequest) -> HttpResponse:
    """What to make: a model or a dataset."""
    require_sign_in(request)
    return render(request, "repos/choose_new.html")


def new_repo(request: HttpRequest, type: str) -> HttpResponse:
    require_sign_in(request)
    if type not in (Repo.Type.MODEL, Repo.Type.DATASET):
        raise NotFound("There is nothing at this address.")
    owners = list_owners(request.user)
    form = NewRepoForm(request.POST or None, owners=owners, initial={"owner": request.GET.get("owner", owners[0])})
    if request.method == "POST" and form.is_valid():
        try:
            repo = make_repo(request.user, type, form.cleaned_data)
        except HubError as problem:
            form.add_error("name", problem.message)
        else:
            messages.success(request, f"{repo.full_name} is ready. Add the first files next.")
            return HttpResponseRedirect(f"{repo.path}/upload")
    context = {"form": form, "type": type, "kind": Repo.Type(type).label.lower()}
    return render(request, "repos/new.html", context, status=400 if form.is_bound else 200)


def list_owners(user: User) -> list[str]:
    """Names under which this person may make repositories, their own first."""
    writing = user.memberships.exclude(role=Membership.Role.READ).select_related("organization")
    return [user.username, *sorted(row.organization.name for row in writing)]


def make_repo(by: User, type: str, data: dict[str, Any]) -> Repo:
    owner = owner_for(data["owner"], by)
    require(by, "create_repo", owner)
    default = isinstance(owner, Organization) and owner.is_private_by_default
    return create_repo(
        type=type,
        name=data["name"],
        by=by,
        owner=owner,
        is_private=data["visibility"] == "private" or (default and data["visibility"] != "public"),
        description=data["description"],
    )
