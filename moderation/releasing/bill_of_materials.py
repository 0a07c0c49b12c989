"""The bill of materials of a release: CycloneDX 1.6 with a model card, made from the manifest, the lock and the evaluations.

The same release gives the same bytes. It is not signed; the manifest and the provenance statement beside it are.
Source: https://cyclonedx.org/docs/1.6/json/"""

import re
import uuid
from typing import Any

from hub.common.markdown import split_card
from hub.repos.places import pair
from hub.storage.errors import StorageError
from moderation.gate import is_suite, read_lock, suites_of
from moderation.models import Release
from moderation.releasing.publishing import path_of
from moderation.releasing.releases import find_run_of
from training.engine.lock import Lock, LockedRepository
from training.models import Run
from training.running.outputs import evaluations_of

MEDIA_TYPE = "application/vnd.cyclonedx+json; version=1.6"
NAMESPACE = uuid.UUID("0b0e5b3c-2c0d-5b5e-9a55-5b9f3f3f0d16")  # of the serial numbers
MAX_FILES = 5_000
# The licences of cards are SPDX identifiers in lower case, but for names of their own; the format wants the exact ones.
SPDX = {name.lower(): name for name in (
    "Apache-2.0 MIT AFL-3.0 Artistic-2.0 BSL-1.0 BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear CC0-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 "
    "CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC-BY-NC-4.0 CC-BY-NC-SA-4.0 CC-BY-NC-ND-4.0 CC-BY-ND-4.0 CDLA-Sharing-1.0 "
    "CDLA-Permissive-1.0 CDLA-Permissive-2.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 ISC MPL-2.0 MS-PL OSL-3.0 PostgreSQL "
    "OFL-1.1 NCSA Unlicense Zlib 0BSD WTFPL LPPL-1.3c"
).split()}  # fmt: skip


def make(release: Release) -> dict[str, Any]:
    run = find_run_of(release)
    lock = read_lock(run)
    card = read_card(release)
    model = describe_model(release, run, lock, card)
    parts = [*list_inputs(lock), *list_programs(lock), *list_files(release)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, f'{release.repo.key} {release.digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": (release.published_at or release.created_at).isoformat(),
            "tools": {"components": [{"type": "application", "name": "model-commons"}]},
            "component": model,
        },
        "components": parts,
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]},
            *({"ref": part["bom-ref"]} for part in parts),
        ],
    }


def read_card(release: Release) -> dict[str, Any]:
    """The front matter of README.md as it was released; {} where there is none, or it was purged since."""
    try:
        text = pair(release.repo).members.read(release.commit, "README.md").decode("utf-8", errors="replace")
    except StorageError:
        return {}
    return dict(split_card(text).metadata)


def describe_model(release: Release, run: Run | None, lock: Lock | None, card: dict[str, Any]) -> dict[str, Any]:
    manifest, name = release.manifest, release.repo.full_name
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}@{release.tag}",
        "group": name.partition("/")[0],
        "name": name.partition("/")[2],
        "version": release.version,
        "description": f"{name} {release.tag}, commit {release.commit}",
        "authors": [{"name": row["name"]} for row in manifest.get("contributors", [])],
        "purl": f"pkg:huggingface/{name}@{release.commit}",
        "externalReferences": [{"type": "distribution", "url": path_of(release)}],
        "modelCard": describe_card(run, lock, card),
        "properties": [
            {"name": f"model-commons:{key}", "value": str(value)}
            for key, value in (
                ("commit", release.commit), ("manifest", release.digest), ("run", manifest.get("run")),
                ("recipe", manifest.get("recipe_digest")), ("state", release.state), ("reviewed", release.is_reviewed),
            )
            if value is not None
        ],
    }  # fmt: skip
    if manifest.get("model_digest"):
        found["hashes"] = [hash_of(manifest["model_digest"].removeprefix("sha256:"))]
    if card.get("license"):
        found["licenses"] = [{"license": describe_licence(str(card["license"]))}]
    return found


def hash_of(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def describe_licence(name: str) -> dict[str, str]:
    known = SPDX.get(name.lower())
    return {"id": known} if known else {"name": name[:200]}


def describe_card(run: Run | None, lock: Lock | None, card: dict[str, Any]) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "approach": {"type": "self-supervised"},
        "task": str(card.get("pipeline_tag") or "text-generation"),
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "text"}],
    }
    if lock is not None:
        suites = suites_of(lock)
        data = [pin for pin in lock.repositories if pin.type == "dataset" and not is_suite(pin, suites)]
        parameters["datasets"] = [{"ref": ref_of(pin)} for pin in data]
    metrics = [metric for row in (evaluations_of(run) if run else []) for metric in describe_scores(row)]
    return {
        "modelParameters": parameters,
        **({"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}),
    }


def describe_scores(evaluation: Any) -> list[dict[str, Any]]:
    parts = [*evaluation.results.get("slices", [])]
    if overall := evaluation.results.get("overall"):
        parts.append({**overall, "slice": "overall"})
    return [
        {
            "type": str(part.get("metric") or "score"),
            "value": f"{part['score']:.6g}",
            "slice": f"{evaluation.suite_name}: {part['slice']}",
            **(
                {"confidenceInterval": {"lowerBound": f"{part['low']:.6g}", "upperBound": f"{part['high']:.6g}"}}
                if part.get("low") is not None and part.get("high") is not None
                else {}
            ),
        }
        for part in parts
        if part.get("score") is not None
    ]


def ref_of(pin: LockedRepository) -> str:
    return f"{pin.type}:{pin.id}@{pin.commit}"


def list_inputs(lock: Lock | None) -> list[dict[str, Any]]:
    """Datasets, suites and models that the run pins. A repository may be pinned by two names of one commit."""
    found = {}
    suites = suites_of(lock) if lock else set()
    for pin in lock.repositories if lock else ():
        people = sorted(
            {row["contributor"] for rows in pin.contributors.values() for row in rows if row["contributor"]}
        )
        purl = f"pkg:huggingface/{'datasets/' if pin.type == 'dataset' else ''}{pin.id}@{pin.commit}"
        part: dict[str, Any] = {
            "type": "machine-learning-model" if pin.type == "model" else "data",
            "bom-ref": ref_of(pin),
            "group": pin.id.partition("/")[0],
            "name": pin.id.partition("/")[2],
            "version": pin.commit,
            "purl": purl,
            "authors": [{"name": name} for name in people],
        }
        if pin.type == "dataset":
            what = "evaluation suite" if is_suite(pin, suites) else "training data"
            part["data"] = [{"type": "dataset", "name": pin.id, "description": what}]
        found[ref_of(pin)] = part
    return list(found.values())


def list_programs(lock: Lock | None) -> list[dict[str, Any]]:
    return [
        {
            "type": "platform" if name in ("python", "cuda") else "library",
            "bom-ref": f"program:{name}@{version}",
            "name": name,
            "version": version,
            **({} if name in ("python", "cuda") else {"purl": f"pkg:pypi/{name}@{quote(version)}"}),
        }
        for name, version in sorted(lock.versions.items() if lock else ())
    ]


def quote(version: str) -> str:
    return re.sub(r"[^A-Za-z0-9.~_-]", lambda found: f"%{ord(found[0]):02X}", version)


def list_files(release: Release) -> list[dict[str, Any]]:
    files = sorted(release.manifest["files"].items())[:MAX_FILES]
    return [
        {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": [hash_of(pin["sha256"])]}
        for path, pin in files
    ]
