from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from hub.accounts.names import find_owner
from hub.management.operator import OperatorCommand
from hub.repos.find import lookup
from hub.repos.models import Repo
from hub.repos.quotas import Holder, forget_limit, limit_of, name_of, read_size, set_limit

PREFIXES = {"models": "model", "datasets": "dataset", "spaces": "space"}


class Command(OperatorCommand):
    help = (
        "How many bytes of large files somebody may hold: quota show NAME; quota set NAME 10GB|none; quota reset NAME. "
        "NAME is a person, an organization, or models|datasets|spaces/NAMESPACE/REPOSITORY"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for action, text in (
            ("show", "limit and use"),
            ("set", "another limit"),
            ("reset", "the limit of the settings"),
        ):
            one = actions.add_parser(action, help=text)
            one.add_argument("name")
            if action == "set":
                one.add_argument("size", help="like 500MB, 1.5GB, 2TiB, or none for no limit")

    def handle(self, *args: Any, action: str, name: str, **options: Any) -> None:
        holder = find_holder(name)
        if action == "set":
            set_limit(holder, read_size(options["size"]))
        elif action == "reset":
            forget_limit(holder)
        limit = limit_of(holder)
        allowed = "any number of" if limit.max_bytes is None else f"{limit.max_bytes:,}"
        self.stdout.write(
            f"{name_of(holder)} holds {limit.used_bytes:,} bytes of large files and may hold {allowed} bytes."
        )


def find_holder(name: str) -> Holder:
    kind, slash, rest = name.partition("/")
    if not slash:
        return find_owner(name)
    repo: Repo | None = lookup(PREFIXES[kind], rest) if kind in PREFIXES and rest.count("/") == 1 else None
    if repo is None:
        raise CommandError(
            f"There is no {name!r} here; write a repository as models/NAME/REPOSITORY or datasets/NAME/REPOSITORY."
        )
    return repo
