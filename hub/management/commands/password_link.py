from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from hub.accounts.models import User
from hub.management.operator import OperatorCommand, describe_link
from hub.web.password_links import make_password_link


class Command(OperatorCommand):
    help = "Print a link, good for one use, on which somebody sets a new password (for hubs without a mail server)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        user = User.objects.filter(username__iexact=name, is_system=False).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.")
        self.stdout.write(describe_link(make_password_link(user)))
