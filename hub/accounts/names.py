"""The one namespace of people and organizations."""

import re

from hub.accounts.models import Namespace, Organization, User
from hub.common.errors import Conflict, InvalidInput, NotFound

NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
SYSTEM_NAME = "model-commons"  # the hub's own account
# First path segments that the site itself uses, and the hub's own name.
RESERVED = frozenset(
    (
        f"{SYSTEM_NAME} admin api models model datasets dataset spaces space kernels kernel buckets papers collections "
        "login logout signup settings new oauth lfs xet git static media docs help search join tokens "
        "notifications moderation releases release runs run proposals propose live organizations users upload "
        "uploads playground jobs about policy audit health cas resolve blob tree raw commit commits none "
    ).split()
)


def check_name(name: str, *, reserved_ok: bool = False) -> str:
    """The name itself, or InvalidInput saying what a name looks like."""
    if not NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise InvalidInput(
            f"The name {name!r} cannot be used: 1 to 96 letters, digits, '_', '-' and '.', without '--' or '..', "
            "not beginning or ending with '-' or '.', and not ending with '.git'."
        )
    if name.lower() in RESERVED and not reserved_ok:
        raise InvalidInput(f"The name {name!r} is used by the site itself; choose another.")
    return name


def check_name_is_free(name: str) -> None:
    if Namespace.objects.filter(name__iexact=name).exists():
        raise Conflict(f"The name {name!r} is taken; choose another.")


def find_owner(name: str) -> User | Organization:
    """The person or organization of a present or former name, in any case."""
    row = Namespace.objects.select_related("user", "organization").filter(name__iexact=name).first()
    if row is None:
        raise NotFound(f"There is no person or organization named {name!r} here.")
    return row.owner
