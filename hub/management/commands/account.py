from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from hub.accounts.people import create_user
from hub.accounts.tokens import create_token
from hub.management.operator import OperatorCommand, describe_link
from hub.web.password_links import make_password_link

MIN_TOKEN_CHARACTERS = 8


class Command(OperatorCommand):
    help = "Make accounts: account create NAME [--email E] [--fullname F] [--password P] [--token T] [--staff] [--moderator]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Make an account")
        create.add_argument("name")
        create.add_argument("--email", default="")
        create.add_argument("--fullname", default="")
        create.add_argument("--password", help="without one, a link to set it is printed")
        create.add_argument("--token", help="import this access token (role write) as it is")
        create.add_argument("--staff", action="store_true", help="may operate the hub")
        create.add_argument("--moderator", action="store_true", help="may decide moderation cases")

    @transaction.atomic
    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if options["token"] is not None:
            check_token(options["token"])
        user = create_user(
            username=options["name"],
            email=options["email"],
            fullname=options["fullname"],
            password=options["password"],
            is_staff=options["staff"],
            is_moderator=options["moderator"],
        )
        self.stdout.write(f"Account {user} made.")
        if options["token"]:
            create_token(user=user, name="imported", role="write", token=options["token"])
            self.stdout.write("The token was imported.")
        if not options["password"]:
            self.stdout.write(f"Set a password, once, at {describe_link(make_password_link(user))}")


def check_token(token: str) -> None:
    """Raise CommandError for what anybody would guess, and for what no client could send."""
    if len(token) < MIN_TOKEN_CHARACTERS or any(character.isspace() for character in token):
        raise CommandError(
            f"A token needs at least {MIN_TOKEN_CHARACTERS} characters and no white space; choose another."
        )
