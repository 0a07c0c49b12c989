"""The three people of every test: Alice owns, Bob is a member, Charlie is a stranger."""

from dataclasses import dataclass
from typing import Any

ORGANIZATION = "tidewatch"


@dataclass(frozen=True)
class Person:
    """An account with a token that may write."""

    user: Any
    token: str

    @property
    def name(self) -> str:
        return self.user.username


def make_person(name: str, **more: Any) -> Person:
    """A person who signs in with the password "<name>-tides-2026"."""
    from hub.accounts.people import create_user
    from hub.accounts.tokens import create_token

    user = create_user(
        username=name, fullname=name.title(), email=f"{name}@example.org", password=f"{name}-tides-2026", **more
    )
    _, token = create_token(user=user, name="tests", role="write")
    return Person(user, token)


def make_organization(*, admin: Person, writers: tuple[Person, ...] = ()) -> Any:
    """The organization "tidewatch": `admin` made it, `writers` may push."""
    from hub.accounts.organizations import create_organization, set_member

    organization = create_organization(name=ORGANIZATION, fullname="Tide Watch", created_by=admin.user)
    for writer in writers:
        set_member(organization=organization, user=writer.user, role="write")
    return organization
