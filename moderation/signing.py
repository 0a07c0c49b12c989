"""Signatures of this hub: one Ed25519 key for each data folder, made at first use, readable by its owner only."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

ALGORITHM = "ed25519"


def load_key() -> Ed25519PrivateKey:
    text = load_secret("signing_key", lambda: base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()))
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(text))


def load_secret(name: str, make: Callable[[], bytes]) -> bytes:
    """What lies in a file of the data folder that only its owner reads; made at first use, by one of all processes."""
    path = Path(settings.DATA_DIR) / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    made = make()
    with os.fdopen(descriptor, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    return made


def public_key() -> str:
    return base64.b64encode(load_key().public_key().public_bytes_raw()).decode()


def sign(data: bytes) -> dict[str, str]:
    """{"algorithm", "public_key", "signature"}, base64."""
    signature = base64.b64encode(load_key().sign(data)).decode()
    return {"algorithm": ALGORITHM, "public_key": public_key(), "signature": signature}


def is_signed(data: bytes, signature: dict[str, str]) -> bool:
    """Whether `signature` is one of this data by the key that it names."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signature["public_key"]))
        key.verify(base64.b64decode(signature["signature"]), data)
    except (InvalidSignature, KeyError, ValueError):
        return False
    return signature.get("algorithm") == ALGORITHM
