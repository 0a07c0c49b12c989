"""Accounts of people: creation and the hub's own account."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from hub.accounts.models import Namespace, User
from hub.accounts.names import SYSTEM_NAME, check_name, check_name_is_free
from hub.common.errors import Conflict, InvalidInput


@transaction.atomic
def create_user(
    *,
    username: str,
    email: str = "",
    fullname: str = "",
    password: str | None = None,
    is_staff: bool = False,
    is_moderator: bool = False,
) -> User:
    """Raises InvalidInput for a bad name or a weak password, Conflict for a taken name."""
    check_name(username)
    check_name_is_free(username)
    user = User(username=username, email=email, fullname=fullname, is_staff=is_staff, is_moderator=is_moderator)
    if password:
        try:
            validate_password(password, user)
        except ValidationError as problem:
            raise InvalidInput(" ".join(problem.messages)) from None
        user.set_password(password)
    else:
        user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save()
            Namespace.objects.create(name=username, user=user)
    except IntegrityError:
        raise Conflict(f"The name {username!r} was taken a moment ago; choose another.") from None
    return user


def hub_account() -> User:
    """The account in whose name the hub itself commits; it has no password and no token."""
    user = User.objects.filter(is_system=True).first()
    if user is not None:
        return user
    with transaction.atomic():
        user, made = User.objects.get_or_create(
            username=SYSTEM_NAME, defaults={"fullname": "Model Commons", "is_system": True, "password": "!"}
        )
        if made:
            Namespace.objects.get_or_create(name=SYSTEM_NAME, defaults={"user": user})
    return user


def count_active_people() -> int:
    """People who can sign in: one means that nobody else could approve anything."""
    return User.objects.filter(is_active=True, is_system=False).count()
