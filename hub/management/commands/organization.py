from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from hub.accounts.models import User
from hub.accounts.organizations import create_organization, set_member
from hub.management.operator import OperatorCommand


class Command(OperatorCommand):
    help = "Make organizations: organization create NAME [--fullname F] [--member NAME:ROLE ...] [--private-by-default]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Make an organization")
        create.add_argument("name")
        create.add_argument("--fullname", default="")
        create.add_argument("--member", action="append", default=[], metavar="NAME:ROLE", help="read, write or admin")
        create.add_argument("--private-by-default", action="store_true", help="new repositories are private")

    @transaction.atomic
    def handle(self, *args: Any, action: str, **options: Any) -> None:
        organization = create_organization(
            name=options["name"], fullname=options["fullname"], is_private_by_default=options["private_by_default"]
        )
        for member in options["member"]:
            name, colon, role = member.rpartition(":")
            if not colon:
                raise CommandError(
                    f"Write the member {member!r} with a role, like {member}:write (read, write, admin)."
                )
            user = User.objects.filter(username__iexact=name).first()
            if user is None:
                raise CommandError(f"There is no account {name!r}; make it first: account create {name}.")
            set_member(organization=organization, user=user, role=role)
        self.stdout.write(f"Organization {organization} made with {organization.memberships.count()} members.")
