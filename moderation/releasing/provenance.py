"""How a release came about, as an in-toto statement with SLSA's provenance predicate: weights <- run <- recipe <- data <- code.

Made when the gate publishes, from the lock that the run itself noted, and signed then; it says no more than the record does.
Sources: https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance"""

import hashlib
from typing import Any

from moderation.gate import read_lock
from moderation.models import Release
from training.engine.lock import Lock, LockedRepository
from training.models import Run
from training.running.replays import newest_compared

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://model-commons.org/build/recipe/v1"
BROUGHT = "https://model-commons.org/build/brought/v1"  # weights that no run of this hub made


def make_statement(release: Release, run: Run | None) -> dict[str, Any]:
    """Every file of the release is a subject; what it was made of are the resolved dependencies."""
    files = release.manifest["files"]
    return {
        "_type": STATEMENT,
        "subject": [{"name": path, "digest": {"sha256": files[path]["sha256"]}} for path in sorted(files)],
        "predicateType": PREDICATE,
        "predicate": describe_build(release, run),
    }


def describe_build(release: Release, run: Run | None) -> dict[str, Any]:
    lock = read_lock(run)
    if run is None or lock is None:
        definition: dict[str, Any] = {"buildType": BROUGHT, "externalParameters": {"commit": release.commit}}
        return {"buildDefinition": definition, "runDetails": {"builder": {"id": "urn:model-commons:unknown"}}}
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "recipe": lock.recipe,
                "recipe_digest": run.recipe_digest,
                "pull_request": release.manifest.get("pull_request"),
            },
            "internalParameters": {"seeds": lock.seeds, "resolved": lock.resolved},
            "resolvedDependencies": [describe_input(pin) for pin in lock.repositories],
        },
        "runDetails": {
            "builder": {"id": "urn:model-commons:engine", "version": lock.versions},
            "metadata": {
                "invocationId": f"urn:model-commons:run:{run.pk}",
                **{name: moment.isoformat() for name, moment in times_of(run) if moment is not None},
            },
            "byproducts": list_byproducts(release, run, lock),
        },
    }


def times_of(run: Run) -> list[tuple[str, Any]]:
    return [("startedOn", run.started_at), ("finishedOn", run.finished_at)]


def describe_input(pin: LockedRepository) -> dict[str, Any]:
    """A repository at its commit, with a digest over its files, and who brought its rows."""
    lines = "".join(f"{path} {pin.files[path].sha256}\n" for path in sorted(pin.files))
    people = sorted({row["contributor"] for rows in pin.contributors.values() for row in rows if row["contributor"]})
    return {
        "uri": f"git+urn:model-commons:{pin.type}s/{pin.id}@{pin.commit}",
        "name": pin.id,
        "digest": {"gitCommit": pin.commit, "sha256": hashlib.sha256(lines.encode()).hexdigest()},
        "annotations": {"type": pin.type, "revision": pin.revision, "contributors": people},
    }


def list_byproducts(release: Release, run: Run, lock: Lock) -> list[dict[str, Any]]:
    text = str(run.result["lock"])
    found = [
        {"name": "recipe.lock", "digest": {"sha256": hashlib.sha256(text.encode()).hexdigest()}},
        {"name": "manifest", "digest": {"sha256": release.digest.removeprefix("sha256:")}},
        {"name": "model", "digest": {"sha256": run.model_digest.removeprefix("sha256:")}},
    ]
    if lock.corpus_digest:
        found.append({"name": "corpus", "digest": {"sha256": lock.corpus_digest.removeprefix("sha256:")}})
    replay = newest_compared(run)
    if replay is not None:
        annotations = {"outcome": replay.state, "sentence": replay.sentence}
        found.append({"name": "replay", "uri": f"urn:model-commons:replay:{replay.pk}", "annotations": annotations})
    return found
