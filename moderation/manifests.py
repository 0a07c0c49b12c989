"""The manifest of a release: what it is, what and who made it, and what was looked at. Signed as canonical JSON."""

import hashlib
import json
from typing import Any

from hub.repos.models import Repo, RevisionContent
from hub.repos.places import pair
from hub.storage.git import TreeEntry
from moderation.gate import Requirement, find_run, read_lock_of
from moderation.policy import POLICY_VERSION

SCHEMA = "https://model-commons.org/schemas/release/v1"


def canonical(value: Any) -> bytes:
    """The bytes that are signed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def sha256_of(repo: Repo, entry: TreeEntry) -> str:
    if entry.lfs is not None:
        return entry.lfs.sha256
    return hashlib.sha256(pair(repo).members.read_blob(entry.oid)).hexdigest()


def build(repo: Repo, commit: str, version: str, gate: list[Requirement]) -> dict[str, Any]:
    """Everything but the approvals, which bind to its digest."""
    entries = [entry for entry in pair(repo).members.tree(commit, recursive=True) if entry.type == "file"]
    run = find_run(repo, commit)
    lock = read_lock_of(repo, commit)
    return {
        "schema": SCHEMA,
        "repository": repo.full_name,
        "version": version,
        "commit": commit,
        "files": {entry.path: {"sha256": sha256_of(repo, entry), "size": entry.size} for entry in entries},
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
        "policy": POLICY_VERSION,
    }


def contributors(repo: Repo, commit: str) -> list[dict[str, Any]]:
    """Who made it: the proposer of the recipe, and everybody who brought rows of its data."""
    people: dict[str, set[str]] = {}
    run = find_run(repo, commit)
    if run is not None and run.proposed_by is not None:
        people.setdefault(run.proposed_by.username, set()).add("proposed the recipe")
    lock = read_lock_of(repo, commit)
    for pin in lock.repositories if lock else ():
        for rows in pin.contributors.values():
            for row in rows:
                if row.get("contributor"):
                    people.setdefault(row["contributor"], set()).add(f"brought data of {pin.id}")
    brought = RevisionContent.objects.filter(revision__repo=repo, revision__author__is_system=False)
    for name in brought.values_list("revision__author__username", flat=True).distinct():
        people.setdefault(name, set()).add("brought files")
    return [{"name": name, "roles": sorted(roles)} for name, roles in sorted(people.items())]
