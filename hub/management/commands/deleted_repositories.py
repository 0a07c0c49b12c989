from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from hub.management.commands.import_folder import find_committer
from hub.management.operator import OperatorCommand
from hub.repos.deleted import ends_at, restore_repo
from hub.repos.models import Repo


class Command(OperatorCommand):
    help = "Deleted repositories and the way back: deleted_repositories list; deleted_repositories restore KEY [--name NAME]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("list", help="all of them, each with its key and its end")
        restore = actions.add_parser("restore", help="bring one back as it was")
        restore.add_argument("key")
        restore.add_argument(
            "--name", default="", help="another name without the namespace, like poems-2, where its own is taken"
        )

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        rows = (
            Repo.everything.for_listing()
            .filter(deleted_at__isnull=False, is_disabled=False)
            .order_by("deleted_at", "pk")
        )
        if action == "restore":
            repo = rows.filter(key=options["key"]).first()
            if repo is None:
                raise CommandError(
                    f"No deleted repository has the key {options['key']!r}; see deleted_repositories list."
                )
            back = restore_repo(repo=repo, by=find_committer(repo.owner), name=options["name"])
            self.stdout.write(f"{back.full_name} is back.")
            return
        if not rows.exists():
            self.stdout.write("No deleted repository waits here for its end.")
        for repo in rows.iterator():
            self.stdout.write(f"{repo.key}  {repo.type} {repo.full_name}, gone on {ends_at(repo):%Y-%m-%d}")
