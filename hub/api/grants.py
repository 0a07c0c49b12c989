"""Whom a signed address or a token of the store speaks for. Looked up again at each use: the person may have gone,
the access token may be revoked or have ended since the grant was made."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

from hub.accounts.models import AccessToken, User


def name_speaker(user: Any) -> tuple[int, int]:
    """What a grant keeps of who asked: the keys of the account and of the access token, 0 for none."""
    token = getattr(user, "token", None)
    return user.pk or 0, token.pk if token is not None else 0


def find_speaker(user_key: int, token_key: int) -> Any:
    """The person with the rights they have now, or None when the grant speaks for nobody any more."""
    if not user_key:
        return AnonymousUser()
    if not token_key:
        return User.objects.filter(pk=user_key, is_active=True).first()
    rows = AccessToken.objects.select_related("user").filter(pk=token_key, user_id=user_key, user__is_active=True)
    token = rows.first()
    if token is None or (token.expires_at and token.expires_at <= timezone.now()):
        return None
    user = token.user
    user.token = token  # type: ignore[attr-defined]  # hub.accounts.permissions reads its role
    return user
