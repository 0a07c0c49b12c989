"""What goes with a release: provenance, bill of materials, and what it changes against the last one."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import IntegrityError, transaction
from django.test import Client
from referencing import Registry, Resource

from moderation.models import Release
from moderation.releasing import manifests, model_signing, release_changes
from moderation.releasing.releases import approve, propose_release
from tests.moderation.reading import words
from tests.moderation.scenes import Workshop, bring
from tests.people import Person
from training.models import Run

pytestmark = pytest.mark.django_db(transaction=True)
SCHEMAS = Path(__file__).parent / "schemas"


def fetch(client: Client, release: Release, name: str) -> Any:
    answer = client.get(f"{release.repo.path}/releases/{release.tag}/{name}")
    assert answer.status_code == 200, answer.content[:300]
    return json.loads(answer.content)


def read_schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def check_bom(bom: Any) -> None:
    others = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", read_schema(name)) for name in ("spdx", "jsf-0.82")
    ]
    registry: Any = Registry().with_resources((uri, Resource.from_contents(schema)) for uri, schema in others)
    jsonschema.Draft7Validator(read_schema("bom-1.6"), registry=registry).validate(bom)


def test_the_provenance_leads_from_the_weights_to_data_and_code(published: Release, client: Client) -> None:
    bundle = fetch(client, published, "provenance.json")
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    key = model_signing.load_key().public_key()
    signed = base64.b64decode(envelope["signatures"][0]["sig"])
    key.verify(signed, model_signing.pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
    statement = json.loads(payload)
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    subjects = {row["name"]: row["digest"]["sha256"] for row in statement["subject"]}
    assert subjects == {path: pin["sha256"] for path, pin in published.manifest["files"].items()}
    build, run = statement["predicate"]["buildDefinition"], Run.objects.get()
    assert (
        build["externalParameters"]["recipe_digest"] == run.recipe_digest
        and "base:" in build["externalParameters"]["recipe"]
    )
    inputs = {row["name"]: row for row in build["resolvedDependencies"]}
    assert inputs.keys() == {"alice/base", "charlie/tide-rows", "alice/core"}
    pins = {row["repository"]: row["commit"] for row in published.manifest["inputs"]}
    assert {name: row["digest"]["gitCommit"] for name, row in inputs.items()} == pins
    assert inputs["charlie/tide-rows"]["annotations"]["contributors"] == ["charlie"]
    details = statement["predicate"]["runDetails"]
    made = {row["name"]: row.get("digest", {}).get("sha256") for row in details["byproducts"]}
    assert details["metadata"]["invocationId"].endswith(f":{run.pk}")
    assert made["recipe.lock"] == hashlib.sha256(run.result["lock"].encode()).hexdigest()
    assert f"sha256:{made['manifest']}" == published.digest and f"sha256:{made['model']}" == run.model_digest
    with pytest.raises(IntegrityError), transaction.atomic():
        Release.objects.filter(pk=published.pk).update(provenance={})


def test_the_bill_of_materials_is_cyclonedx_and_names_every_part(published: Release, client: Client) -> None:
    lock = json.loads(Run.objects.get().result["lock"]) | {"versions": {"torch": "2.9.0+cpu", "python": "3.11.9"}}
    Run.objects.update(result={"lock": json.dumps(lock)})
    bom = fetch(client, published, "bom.json")
    check_bom(bom)
    assert bom == fetch(client, published, "bom.json")
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "tide-assistant", "1.0.0")
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    card = model["modelCard"]
    assert [row["ref"].partition("@")[0] for row in card["modelParameters"]["datasets"]] == [
        "dataset:charlie/tide-rows"
    ]
    scores = {row["slice"]: row["value"] for row in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert scores == {"alice/core: texts": "0.7", "alice/core: overall": "0.7"}
    parts = {part["bom-ref"].partition("@")[0]: part for part in bom["components"]}
    assert parts["dataset:alice/core"]["data"][0]["description"] == "evaluation suite"
    assert parts["program:torch"]["purl"] == "pkg:pypi/torch@2.9.0%2Bcpu"
    weights = parts["file:model.safetensors"]["hashes"][0]["content"]
    assert weights == published.manifest["files"]["model.safetensors"]["sha256"]
    assert {row["ref"] for row in bom["dependencies"]} == {
        model["bom-ref"],
        *(part["bom-ref"] for part in bom["components"]),
    }
    with pytest.raises(jsonschema.ValidationError):
        check_bom(bom | {"components": [{"type": "cake"}]})


def test_the_manifest_says_what_changed_against_the_last_release(
    releasable: Workshop, published: Release, bob: Person, dora: Person, client: Client
) -> None:
    first = published.manifest["changes"]
    assert first["against"] is None and "model.safetensors" in first["files"]["added"] and first["recipe"]
    bring(releasable.model, bob.user, {"README.md": b"---\nlicense: mit\n---\n# Mended\n", "LICENSE": b"MIT\n"})
    releasable.model.refresh_from_db()
    second = propose_release(repo=releasable.model, by=releasable.owner, version="1.0.1")
    changes = second.manifest["changes"]
    assert changes["against"] == "v1.0.0" and changes["new_contributors"] == ["bob"] and not changes["recipe"]
    assert changes["files"] == {"added": ["LICENSE"], "changed": ["README.md"], "removed": []}
    assert changes["inputs"] == {"added": [], "changed": [], "removed": []}
    assert manifests.digest(second.manifest) == second.digest  # what approvals speak of holds it
    client.force_login(bob.user)
    page = words(client.get(f"{releasable.model.path}/releases/v1.0.1"))
    assert "Changes since v1.0.0" in page and "README.md" in page and "bob" in page
    second = approve(release=second, by=dora.user)


def test_inputs_that_moved_are_told_from_those_that_came() -> None:
    before = {"data a@main": "1", "data b@main": "2", "data c@main": "3"}
    now = {"data a@main": "1", "data b@main": "9", "data d@main": "4"}
    told = release_changes.compare(before, now)
    assert told == {"added": ["data d@main"], "changed": ["data b@main"], "removed": ["data c@main"]}
