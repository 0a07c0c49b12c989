from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from hub.accounts.models import Organization, User
from hub.accounts.organizations import create_organization, set_member
from hub.management.operator import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Make organizations: organization create NAME [--fullname F] [--member NAME:ROLE ...] [--private-by-default]; "
        "organization member NAME PERSON:ROLE ..."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Make an organization")
        create.add_argument("name")
        create.add_argument("--fullname", default="")
        create.add_argument("--member", action="append", default=[], metavar="NAME:ROLE", help="read, write or admin")
        create.add_argument("--private-by-default", action="store_true", help="new repositories are private")
        member = actions.add_parser("member", help="Add members, or change their roles")
        member.add_argument("name")
        member.add_argument("member", nargs="+", metavar="NAME:ROLE", help="read, write or admin")

    @transaction.atomic
    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "member":
            self.change_members(options["name"], options["member"])
            return
        organization = create_organization(
            name=options["name"], fullname=options["fullname"], is_private_by_default=options["private_by_default"]
        )
        for member in options["member"]:
            set_member(organization=organization, **read_member(member))
        self.stdout.write(f"Organization {organization} made with {organization.memberships.count()} members.")
        if not organization.memberships.filter(role="admin").exists():
            self.stderr.write(
                f"Nobody administers it yet; add somebody: ./manage.py organization member {organization} NAME:admin"
            )

    def change_members(self, name: str, members: list[str]) -> None:
        organization = Organization.objects.filter(name__iexact=name).first()
        if organization is None:
            raise CommandError(f"There is no organization {name!r}; make it first: organization create {name}.")
        for member in members:
            row = set_member(organization=organization, **read_member(member))
            self.stdout.write(f"{row.user} has the role {row.role} in {organization}.")


def read_member(member: str) -> dict[str, Any]:
    """User and role of NAME:ROLE. Raises CommandError."""
    name, colon, role = member.rpartition(":")
    if not colon:
        raise CommandError(f"Write the member {member!r} with a role, like {member}:write (read, write, admin).")
    user = User.objects.filter(username__iexact=name, is_system=False).first()
    if user is None:
        raise CommandError(f"There is no account {name!r}; make it first: account create {name}.")
    return {"user": user, "role": role}
