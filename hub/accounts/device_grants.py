"""Signing in a program from a browser (RFC 8628, `hf auth login`): the program shows a code, a person approves it."""

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from hub.accounts.models import AccessToken, DeviceGrant, User
from hub.accounts.tokens import create_token
from hub.common.errors import HubError, InvalidInput, NotFound

LIFETIME_S = 900
INTERVAL_S = 5  # between two questions of the program
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; nothing that looks like a digit
MAX_WAITING = 10_000  # grants nobody answered; more means that somebody floods us


class GrantRefused(HubError):
    """`code` is the OAuth error that the polling program understands."""


def digest_code(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


@transaction.atomic
def start_grant() -> tuple[str, DeviceGrant]:
    """The secret device code, which is not stored, and the row with the code to show, like BCDF-GHJK."""
    now = timezone.now()
    DeviceGrant.objects.filter(expires_at__lt=now).delete()
    if DeviceGrant.objects.filter(user=None).count() >= MAX_WAITING:
        raise InvalidInput("Too many sign-ins are waiting; try again in a few minutes.")
    device_code = secrets.token_urlsafe(32)
    grant = DeviceGrant.objects.create(
        device_code_digest=digest_code(device_code),
        user_code=new_user_code(),
        expires_at=now + timedelta(seconds=LIFETIME_S),
    )
    return device_code, grant


def new_user_code() -> str:
    letters = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def find_grant(user_code: str) -> DeviceGrant:
    """The open grant of a code as people type it. Raises NotFound when it is unknown, answered or too old."""
    letters = "".join(letter for letter in user_code.upper() if letter.isalnum())
    code = f"{letters[:4]}-{letters[4:]}"
    grant = DeviceGrant.objects.filter(user_code=code, user=None, denied=False, expires_at__gt=timezone.now()).first()
    if grant is None:
        raise NotFound("This code is unknown or too old; start the sign-in again in your program.")
    return grant


@transaction.atomic
def approve_grant(*, user_code: str, by: User) -> DeviceGrant:
    grant = DeviceGrant.objects.select_for_update().get(pk=find_grant(user_code).pk)
    grant.user = by
    grant.save(update_fields=["user"])
    return grant


@transaction.atomic
def deny_grant(*, user_code: str) -> DeviceGrant:
    grant = DeviceGrant.objects.select_for_update().get(pk=find_grant(user_code).pk)
    grant.denied = True
    grant.save(update_fields=["denied"])
    return grant


@transaction.atomic
def redeem_grant(device_code: str) -> tuple[AccessToken, str]:
    """The token of an approved grant, given out once. Raises GrantRefused with the OAuth code while there is none."""
    rows = DeviceGrant.objects.select_for_update().select_related(None)
    grant = rows.filter(device_code_digest=digest_code(device_code)).first()
    if grant is None or grant.issued:
        raise GrantRefused("This device code is unknown or was used already.", code="invalid_grant")
    if grant.denied:
        raise GrantRefused("The sign-in was denied in the browser.", code="access_denied")
    if grant.expires_at <= timezone.now():
        raise GrantRefused("The code is too old; start the sign-in again.", code="expired_token")
    if grant.user is None:
        raise GrantRefused("Nobody has approved the code yet.", code="authorization_pending")
    grant.issued = True
    grant.save(update_fields=["issued"])
    name = f"sign-in of {timezone.now():%Y-%m-%d %H:%M} ({grant.user_code})"
    return create_token(user=grant.user, name=name, role=AccessToken.Role.WRITE)
