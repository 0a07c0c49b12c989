"""Signatures in the OpenSSF model-signing format, which `model_signing verify key` reads without this hub or a network.

A Sigstore bundle (version 0.3) around a DSSE envelope around an in-toto statement that names every file with its SHA-256.
The digests are those of the upload, so no file is read. The format takes keys on NIST curves only, hence a second key beside
that of moderation.signing.
Sources: https://github.com/ossf/model-signing-spec, https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md"""

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from moderation import signing

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
KEY_FILE = "model_signing_key"
SIGNATURE_FILE = "model.sig"
# What the public tool leaves out of every folder, and what clients put there.
LEFT_OUT = (SIGNATURE_FILE, ".git", ".gitattributes", ".github", ".gitignore", ".cache")


def load_key() -> ec.EllipticCurvePrivateKey:
    """The P-256 key of this hub, made at first use."""
    text = signing.load_secret(KEY_FILE, make_key)
    key = serialization.load_pem_private_key(text, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def make_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem() -> bytes:
    return (
        load_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign_files(name: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The bundle for a model of this name; `files` is path -> {"sha256", ...}, as in a manifest of a release."""
    return sign_statement(make_statement(name, files))


def sign_statement(statement: dict[str, Any]) -> dict[str, Any]:
    """A bundle around an in-toto statement, signed with the P-256 key of this hub."""
    payload = json.dumps(statement, separators=(",", ":")).encode()
    signed = load_key().sign(pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(public_pem()).hexdigest()}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signed).decode(), "keyid": ""}],
        },
    }


def make_statement(name: str, files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The digest of the subject is the SHA-256 over the digests of its files, in the order of their paths."""
    paths = sorted(path for path in files if path.partition("/")[0] not in LEFT_OUT)
    whole = hashlib.sha256(b"".join(bytes.fromhex(files[path]["sha256"]) for path in paths))
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": whole.hexdigest()}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(LEFT_OUT),
            },
            "resources": [{"name": path, "algorithm": "sha256", "digest": files[path]["sha256"]} for path in paths],
        },
    }  # fmt: skip


def pre_authentication(payload: bytes) -> bytes:
    """What is signed: the type and the payload, each with its length in front (DSSE, version 1)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
