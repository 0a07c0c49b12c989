"""Recipes at the hub: proposing one by any door, reading it from a pull request, and pinning what it names."""

import hashlib
from dataclasses import dataclass
from typing import Any

from hub.accounts.models import User
from hub.accounts.people import hub_account
from hub.accounts.permissions import can
from hub.common.errors import HubError, InvalidInput, RepoNotFound, RevisionNotFound
from hub.community.candidates import RECIPE, people_behind
from hub.community.contributions import Contribution, commit, reader_for
from hub.community.models import PullRequest
from hub.repos.commits import SQL_BATCH
from hub.repos.find import find_repo
from hub.repos.models import Content, Repo, Revision, RevisionContent
from hub.repos.places import pair
from hub.repos.reader import RepoReader, digest_of
from hub.repos.refs import renew_files
from hub.storage.git import AddFile, TreeEntry
from training.engine.errors import EngineError
from training.engine.lock import Lock, LockedFile, LockedRepository, format_lock
from training.engine.recipe import Recipe, RepoRef, parse_recipe, referenced_repos
from training.workers.materials import has_model, uncleared_files

MAX_RECIPE_BYTES = 64 * 1024
MOST_NAMED = 8  # revisions that a refusal lists


class RecipeRefused(HubError):
    """A recipe that cannot run; the message holds every problem with its line and column."""


@dataclass(frozen=True)
class Pinned:
    """A repository that a recipe names, at the commit its revision was when the candidate was built."""

    type: str
    reference: RepoRef
    repo: Repo
    commit: str


def propose(
    *,
    repo: Repo,
    by: User,
    recipe_text: str,
    title: str,
    description: str = "",
    door: str,
) -> Contribution:
    """Open a pull request that changes recipe.yaml. The stock client's commit reaches the same place.

    Raises InvalidInput with line and column before anything is stored."""
    if repo.type != Repo.Type.MODEL:
        raise InvalidInput(f"{repo.full_name} is a {repo.type}; a recipe belongs into a model repository.")
    recipe = read_recipe(recipe_text)
    pin(recipe, by)  # refuses what is missing or unreadable now, not minutes later
    operations = [AddFile(RECIPE, recipe_text.encode())]
    return commit(
        repo=repo,
        by=by,
        revision=None,
        operations=operations,
        title=title,
        description=description,
        create_pr=True,
        door=door,
    )


def read_recipe(text: str) -> Recipe:
    """Raises RecipeRefused."""
    if len(text.encode()) > MAX_RECIPE_BYTES:
        raise RecipeRefused(f"{RECIPE} is larger than 64 KiB; move texts into the card.")
    try:
        return parse_recipe(text)
    except EngineError as problem:
        raise RecipeRefused(str(problem)) from None


def recipe_at(repo: Repo, commit: str) -> str:
    """The text of the recipe in a members' commit. Raises RecipeRefused when it is gone or no text."""
    members = pair(repo).members
    entry = members.entry(commit, RECIPE)
    if entry is None:
        raise RecipeRefused(f"{RECIPE} was removed by this pull request; bring it back or close the pull request.")
    if entry.size > MAX_RECIPE_BYTES or entry.lfs is not None:
        raise RecipeRefused(
            f"{RECIPE} must be UTF-8 text under 64 KiB, and this one is larger or binary; save it as plain text."
        )
    return decode(members.read_blob(entry.oid))


def decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise RecipeRefused(f"{RECIPE} is not UTF-8 text (byte {problem.start}); save it as UTF-8.") from None


def pin(recipe: Recipe, by: User) -> list[Pinned]:
    """Resolve every named repository as its proposer sees it. Raises RecipeRefused for all that is missing or not cleared."""
    found, problems = [], []
    for type, reference in referenced_repos(recipe):
        try:
            found.append(pin_one(type, reference, by))
        except RecipeRefused as problem:
            problems.append(problem.message)
    if problems:
        raise RecipeRefused("\n".join(problems))
    return found


def pin_for_all(recipe: Recipe, pull_request: PullRequest) -> list[Pinned]:
    """The pins of a pull request's recipe: what its author and everybody who pushed to it may read. Otherwise who may
    write to the target could name somebody's private data in that person's own pull request and train on it.

    Raises RecipeRefused."""
    people = list(User.objects.filter(pk__in=people_behind(pull_request)).order_by("pk")) or [hub_account()]
    seen = [pin(recipe, person) for person in people]
    for pins in zip(*seen, strict=True):
        if len({pinned.commit for pinned in pins}) > 1:
            raise RecipeRefused(
                f"{RECIPE} names {pins[0].reference.repo}@{pins[0].reference.revision}, of which the people who pushed to "
                "this pull request see different commits; name the commit."
            )
    return seen[0]


def check_pins(lock: Lock, pull_request: PullRequest) -> None:
    """Look again before work begins, which may be days after pinning: raises RecipeRefused for what was made private,
    withdrawn or deleted since."""
    people = list(User.objects.filter(pk__in=people_behind(pull_request)))
    for locked in lock.repositories:
        repo = Repo.objects.for_listing().filter(key=locked.key or "").first()
        if repo is None or not all(can(person, "read_files", repo) for person in people):
            raise RecipeRefused(
                f"The {locked.type} {locked.id} is gone or not open to the proposal any more; take its line out of {RECIPE}."
            )
        refuse_uncleared(repo, locked.commit, f"{locked.id}@{locked.revision}", people)


def pin_one(type: str, reference: RepoRef, by: User) -> Pinned:
    name = f"{reference.repo}@{reference.revision}"
    try:
        repo = find_repo(type, reference.repo, by, action="read_files")
        reader = reader_for(repo, by)
        commit = reader.resolve(reference.revision)
        renew_files(repo, commit)  # a commit that no branch reaches any more may be pinned by its id
    except RepoNotFound:
        raise RecipeRefused(
            f"{RECIPE} names the {type} {name}, which does not exist here or which you may not read; check the name."
        ) from None
    except RevisionNotFound as problem:
        raise RecipeRefused(f"{RECIPE} names the {type} {name}: {problem}{describe_revisions(reader)}") from None
    except HubError as problem:
        raise RecipeRefused(f"{RECIPE} names the {type} {name}: {problem}") from None
    refuse_uncleared(repo, commit, name, [by])
    if type == "model" and not has_model(repo, commit):
        raise RecipeRefused(f"{RECIPE} names the model {name}, which holds no config.json with *.safetensors weights.")
    return Pinned(type, reference, repo, commit)


def describe_revisions(reader: RepoReader) -> str:
    """The branches and tags that this reader may name instead."""
    names = [ref.split("/", 2)[2] for ref in reader.refs() if ref.startswith(("refs/heads/", "refs/tags/"))]
    more = ", ..." if len(names) > MOST_NAMED else ""
    return f" There are {', '.join(sorted(names)[:MOST_NAMED])}{more}." if names else ""


def refuse_uncleared(repo: Repo, commit: str, name: str, people: list[User]) -> None:
    """Raises RecipeRefused when the revision holds what moderation has not cleared."""
    for content in uncleared_files(repo, commit):
        is_made_here = content.is_large and content.added_by is not None and content.added_by.is_system
        is_waiting = content.clearance == Content.Clearance.PENDING
        if is_made_here and is_waiting and all(can(person, "read_members", repo) for person in people):
            continue  # weights this hub made wait for their release only
        raise RecipeRefused(
            f"{RECIPE} names {name}, where {content.path} is {content.get_clearance_display().lower()}; "
            "remove the file there, or wait until it is cleared."
        )


def lock_repository(pinned: Pinned) -> LockedRepository:
    """Every file of a pinned revision by sha256, and for data who brought it."""
    members = pair(pinned.repo).members
    entries = [entry for entry in members.tree(pinned.commit, recursive=True) if entry.type == "file"]
    files = {entry.path: LockedFile(sha256_of(pinned.repo, entry), entry.size) for entry in entries}
    brought = contributors(pinned.repo, entries) if pinned.type == "dataset" else {}
    return LockedRepository(
        type=pinned.type,
        id=pinned.repo.full_name,
        revision=pinned.reference.revision,
        commit=pinned.commit,
        files=files,
        contributors=brought,
        key=pinned.repo.key,
    )


def sha256_of(repo: Repo, entry: TreeEntry) -> str:
    if entry.lfs is not None:
        return entry.lfs.sha256
    return hashlib.sha256(pair(repo).members.read_blob(entry.oid)).hexdigest()


def contributors(repo: Repo, entries: list[TreeEntry]) -> dict[str, list[dict[str, Any]]]:
    """path -> who brought the file as it is: the authenticated author of the first commit that held these bytes."""
    paths: dict[str, list[str]] = {}  # equal bytes may lie at several places
    for entry in entries:
        paths.setdefault(digest_of(entry), []).append(entry.path)
    digests = list(paths)
    found: dict[str, list[dict[str, Any]]] = {}
    for start in range(0, len(digests), SQL_BATCH):
        for digest, revision in first_revisions(repo, digests[start : start + SQL_BATCH]).items():
            found.update({path: [credit(revision)] for path in paths[digest]})
    return found


def first_revisions(repo: Repo, digests: list[str]) -> dict[str, Revision]:
    """digest -> the commit that brought it to the repository first."""
    brought = (
        RevisionContent.objects.filter(revision__repo=repo, content__digest__in=digests)
        .select_related("revision__author", "content")
        .order_by("-revision_id")
    )
    return {row.content.digest: row.revision for row in brought}  # the oldest comes last and wins


def credit(revision: Revision) -> dict[str, Any]:
    number = revision.ref.removeprefix("refs/pr/") if revision.ref.startswith("refs/pr/") else ""
    return {
        "contributor": revision.author.username if revision.author else None,
        "pull_request": int(number) if number.isdigit() else None,
    }


def write_lock_text(recipe_text: str, pins: list[Pinned], *, endpoint: str = "") -> str:
    """recipe.lock before the run: all pins, no outputs yet."""
    lock = Lock(
        recipe=recipe_text,
        repositories=tuple(lock_repository(pinned) for pinned in pins),
        endpoint=endpoint or None,
    )
    return format_lock(lock)


def digest_text(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
