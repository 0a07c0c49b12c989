"""The manifest of a release: what it is, what and who made it, and what was looked at. Signed as canonical JSON."""

import hashlib
import json
from typing import Any

from hub.repos.models import Repo, RevisionContent
from hub.repos.places import pair
from hub.storage.git import TreeEntry
from moderation.gate import Requirement, files_of, find_run, is_suite, read_lock, run_behind, suites_of
from moderation.releasing import release_changes
from moderation.rules.policies import Standing, in_force
from training.models import Run

SCHEMA = "https://model-commons.org/schemas/release/v1"
# Added when it is published; approvals speak of the manifest without them.
ADDED_LATER = ("approved_digest", "approvals", "reviewed", "published_at")
PROPOSED, BROUGHT_DATA, BROUGHT_SUITE, BROUGHT_FILES = (
    "proposed the recipe", "brought data of", "brought the suite", "brought files",
)  # fmt: skip
MAX_DEPTH = 8  # of models made from models
SQL_BATCH = 500


def canonical(value: Any) -> bytes:
    """The bytes that are signed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def approved_part(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the approvals of a published manifest speak of."""
    return {key: value for key, value in manifest.items() if key not in ADDED_LATER}


def sha256_of(repo: Repo, entry: TreeEntry) -> str:
    if entry.lfs is not None:
        return entry.lfs.sha256
    return hashlib.sha256(pair(repo).members.read_blob(entry.oid)).hexdigest()


def build(
    repo: Repo, commit: str, version: str, gate: list[Requirement], standing: Standing | None = None
) -> dict[str, Any]:
    """Everything but the approvals, which bind to its digest."""
    standing = standing or in_force()
    run = find_run(repo, commit)
    lock = read_lock(run)
    manifest = {
        "schema": SCHEMA,
        "repository": repo.full_name,
        "version": version,
        "commit": commit,
        "files": {
            entry.path: {"sha256": sha256_of(repo, entry), "size": entry.size} for entry in files_of(repo, commit)
        },
        "model_digest": run.model_digest if run else None,
        "recipe_digest": run.recipe_digest if run else None,
        "run": run.pk if run else None,
        "pull_request": run.pull_request.discussion.number if run and run.pull_request else None,
        "inputs": [
            {"type": pin.type, "repository": pin.id, "revision": pin.revision, "commit": pin.commit}
            for pin in (lock.repositories if lock else ())
        ],
        "contributors": contributors(repo, commit),
        "gate": [requirement.as_dict() for requirement in gate],
        "policy": {**standing.name(), "values": standing.policy.values()},
    }
    return {**manifest, "changes": release_changes.describe(repo, manifest)}


def contributors(repo: Repo, commit: str) -> list[dict[str, Any]]:
    """Who made it: the proposer of the recipe, everybody who brought rows of its data, and who brought its files."""
    people: dict[str, set[str]] = {}
    run = find_run(repo, commit)
    if run is not None and run.proposed_by is not None:
        people.setdefault(run.proposed_by.username, set()).add(PROPOSED)
    for name, role in data_roles(run):
        people.setdefault(name, set()).add(role)
    for name in file_authors(repo, commit):
        people.setdefault(name, set()).add(BROUGHT_FILES)
    return [{"name": name, "roles": sorted(roles)} for name, roles in sorted(people.items())]


def data_roles(run: Run | None, depth: int = 0) -> list[tuple[str, str]]:
    """(person, role) for the rows that a run used, and for those of the runs on this hub whose weights it starts from."""
    lock = read_lock(run)
    if lock is None or depth > MAX_DEPTH:
        return []
    found: list[tuple[str, str]] = []
    suites = suites_of(lock)
    for pin in lock.repositories:
        role = BROUGHT_SUITE if is_suite(pin, suites) else BROUGHT_DATA
        for rows in pin.contributors.values():
            found += [(row["contributor"], f"{role} {pin.id}") for row in rows if row.get("contributor")]
        inherited = data_roles(run_behind(pin), depth + 1) if pin.type == "model" else []
        found += [row for row in inherited if row[1].startswith(BROUGHT_DATA)]
    return found


def file_authors(repo: Repo, commit: str) -> set[str]:
    """People whose commits brought something to this revision."""
    history = pair(repo).members.ancestors_not_in(commit, [])
    names: set[str] = set()
    for start in range(0, len(history), SQL_BATCH):
        brought = RevisionContent.objects.filter(
            revision__repo=repo,
            revision__commit__in=history[start : start + SQL_BATCH],
            revision__author__is_system=False,
        )
        names |= set(brought.values_list("revision__author__username", flat=True).distinct())
    return names
