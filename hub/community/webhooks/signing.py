"""The secret of a webhook: sealed in the database, and what a delivery is signed with."""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings

from hub.common.errors import InvalidInput

MAX_SECRET_CHARACTERS = 200


def box() -> Fernet:
    """Sealed with the hub's own key: a copy of the database alone opens nothing."""
    key = hashlib.sha256(b"webhook secrets\0" + settings.SECRET_KEY.encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def check_secret(secret: str) -> str:
    """It travels in a header, as the stock client's server expects."""
    if (
        len(secret) > MAX_SECRET_CHARACTERS
        or not secret.isascii()
        or not (secret.isprintable() and secret == secret.strip())
    ):
        raise InvalidInput(
            f"A secret has at most {MAX_SECRET_CHARACTERS} plain letters, digits and signs, and no space around it."
        )
    return secret


def seal(secret: str) -> str:
    return box().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str | None:
    """None where it cannot be read: SECRET_KEY is another one than when it was sealed."""
    try:
        return box().decrypt(sealed.encode()).decode() if sealed else ""
    except InvalidToken:
        return None


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Value of X-Webhook-Signature: HMAC-SHA256 of the decimal Unix time, a point, and the body."""
    told = str(timestamp).encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), told, hashlib.sha256).hexdigest()
