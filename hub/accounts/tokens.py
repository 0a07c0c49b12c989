"""Access tokens: made once, shown once, kept as a hash."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.utils import timezone

from hub.accounts.models import AccessToken, User
from hub.common.errors import Conflict, InvalidInput
from hub.common.prepared import Prepared

PREFIX = "hf_"  # the stock client and secret scanners know this shape
BY_DIGEST = Prepared(lambda digest: AccessToken.objects.select_related("user").filter(digest=digest), str)


def digest_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def create_token(
    *,
    user: User,
    name: str,
    role: str = "read",
    token: str | None = None,
    expires_at: datetime | None = None,
    scopes: dict[str, str] | None = None,
) -> tuple[AccessToken, str]:
    """The row and the token itself, which is not stored. A given `token` is imported as it is."""
    if role not in AccessToken.Role.values:
        raise InvalidInput(f"The token role {role!r} does not exist; use read, write or fineGrained.")
    if not name.strip():
        raise InvalidInput("Give the token a name, for example the machine where you use it.")
    text = token or PREFIX + secrets.token_urlsafe(27).replace("-", "x").replace("_", "y")
    digest = digest_token(text)
    known = AccessToken.objects.filter(digest=digest).first()
    if known is not None:
        if known.user_id != user.pk:
            raise Conflict("This token belongs to another account; choose another.")
        return known, text
    row = AccessToken.objects.create(
        user=user,
        name=name.strip()[:100],
        digest=digest,
        hint=f"{text[:4]}…{text[-3:]}" if len(text) > 12 else "…",
        role=role,
        scopes=scopes or {},
        expires_at=expires_at,
    )
    return row, text


def find_token(token: str, *, now: datetime | None = None) -> AccessToken | None:
    """The living token of an active account, or None."""
    now = now or timezone.now()
    row = BY_DIGEST.first(digest_token(token))
    if row is None or not row.user.is_active or (row.expires_at and row.expires_at <= now):
        return None
    if row.last_used_at is None or now - row.last_used_at > timedelta(minutes=10):
        AccessToken.objects.filter(pk=row.pk).update(last_used_at=now)  # not at every request: that is a write
    return row
