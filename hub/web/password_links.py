"""One-time links that set a password. The secret is a signature over the present password and last sign-in
(Django's own scheme), so a link dies with its first use and after PASSWORD_RESET_TIMEOUT."""

from django.contrib.auth.tokens import default_token_generator
from django.utils.encoding import force_str
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from hub.accounts.models import User


def make_password_link(user: User) -> str:
    """The path of a page on which `user` sets a password, once."""
    key = urlsafe_base64_encode(str(user.pk).encode())
    return f"/login/link/{key}/{default_token_generator.make_token(user)}"


def find_link_user(key: str, secret: str) -> User | None:
    """Whose link it is, or None when it was used, has expired or was never one."""
    try:
        pk = int(force_str(urlsafe_base64_decode(key)))
    except (ValueError, OverflowError, UnicodeDecodeError):
        return None
    user = User.objects.filter(pk=pk, is_active=True, is_system=False).first()
    return user if user is not None and default_token_generator.check_token(user, secret) else None
