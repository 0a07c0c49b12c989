"""Signatures that the public tool reads: the format, letter by letter, and what is signed.

`python -m tests.benchmarks.verifying --tool model_signing` asks the tool itself."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moderation.models import Release
from moderation.releasing import model_signing
from tests.moderation.scenes import Workshop, weights

FILES = {
    "model.safetensors": {"sha256": hashlib.sha256(b"weights").hexdigest(), "size": 7},
    "config.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size": 2},
    "a/b.txt": {"sha256": hashlib.sha256(b"b").hexdigest(), "size": 1},
    ".gitattributes": {"sha256": hashlib.sha256(b"x").hexdigest(), "size": 1},
}


@pytest.fixture
def own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model_signing.make_key()
    monkeypatch.setattr(model_signing.signing, "load_secret", lambda name, make: made)


def open_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """The statement, after its signature was checked as the format says. Raises InvalidSignature."""
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    signed = b" ".join([b"DSSEv1", b"28", b"application/vnd.in-toto+json", str(len(payload)).encode(), payload])
    key = serialization.load_pem_public_key(model_signing.public_pem())
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed, ec.ECDSA(hashes.SHA256()))
    statement: dict[str, Any] = json.loads(payload)
    return statement


def test_the_bundle_is_what_the_format_asks(own_key: None) -> None:
    bundle = model_signing.sign_files("alice/tides v1.0.0", FILES)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    assert hint == hashlib.sha256(model_signing.public_pem()).hexdigest()
    statement = open_bundle(bundle)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    resources = statement["predicate"]["resources"]
    assert [row["name"] for row in resources] == ["a/b.txt", "config.json", "model.safetensors"]
    assert {row["algorithm"] for row in resources} == {"sha256"}
    whole = hashlib.sha256(b"".join(bytes.fromhex(row["digest"]) for row in resources)).hexdigest()
    assert statement["subject"] == [{"name": "alice/tides v1.0.0", "digest": {"sha256": whole}}]


def test_another_payload_does_not_bear_the_signature(own_key: None) -> None:
    bundle = model_signing.sign_files("alice/tides v1.0.0", FILES)
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"v1.0.0", b"v1.0.1")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(InvalidSignature):
        open_bundle(bundle)


@pytest.mark.django_db(transaction=True)
def test_a_published_release_is_signed_for_the_public_tool(
    releasable: Workshop, published: Release, client: Any
) -> None:
    page = f"{releasable.model.path}/releases/v1.0.0"
    statement = open_bundle(client.get(f"{page}/model.sig").json())
    digests = {row["name"]: row["digest"] for row in statement["predicate"]["resources"]}
    assert digests["model.safetensors"] == hashlib.sha256(weights(1)).hexdigest()
    assert set(digests) == set(published.manifest["files"]) - {".gitattributes"}
    assert client.get("/model_signing.pub").content == model_signing.public_pem()
    assert "model_signing verify key" in client.get(page).content.decode()
