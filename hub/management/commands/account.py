from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from hub.accounts.models import User
from hub.accounts.people import create_user
from hub.accounts.tokens import create_token
from hub.management.operator import OperatorCommand, describe_link
from hub.web.password_links import make_password_link

MIN_TOKEN_CHARACTERS = 8


class Command(OperatorCommand):
    help = (
        "Make accounts: account create NAME [--email E] [--fullname F] [--password P] [--token T] [--staff] [--moderator]; "
        "change one: account role NAME [--staff|--no-staff] [--moderator|--no-moderator] [--active|--inactive]"
    )

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
        role = actions.add_parser("role", help="Say what an account may do; without options, show it")
        role.add_argument("name")
        yes_or_no = BooleanOptionalAction
        role.add_argument("--staff", action=yes_or_no, dest="is_staff", help="may operate the hub")
        role.add_argument("--moderator", action=yes_or_no, dest="is_moderator", help="may decide moderation cases")
        activity = role.add_mutually_exclusive_group()
        activity.add_argument("--active", action="store_true", default=None, dest="is_active", help="may sign in again")
        activity.add_argument(
            "--inactive",
            action="store_false",
            default=None,
            dest="is_active",
            help="signed out at once, tokens included",
        )

    @transaction.atomic
    def handle(self, *args: Any, action: str, **options: Any) -> None:
        if action == "role":
            self.change_role(**options)
            return
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

    def change_role(self, *, name: str, **options: Any) -> None:
        user = User.objects.filter(username__iexact=name, is_system=False).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}; make it first: account create {name}.")
        wanted = {field: options[field] for field in ("is_staff", "is_moderator", "is_active")}
        changed = [field for field, value in wanted.items() if value is not None]
        for field in changed:
            setattr(user, field, wanted[field])
        user.save(update_fields=changed)
        facts = {"operates the hub": user.is_staff, "decides moderation cases": user.is_moderator}
        said = ["active" if user.is_active else "inactive"] + [what for what, holds in facts.items() if holds]
        self.stdout.write(f"{user}: {', '.join(said)}.")


def check_token(token: str) -> None:
    """Raise CommandError for what anybody would guess, and for what no client could send."""
    if len(token) < MIN_TOKEN_CHARACTERS or any(character.isspace() for character in token):
        raise CommandError(
            f"A token needs at least {MIN_TOKEN_CHARACTERS} characters and no white space; choose another."
        )
