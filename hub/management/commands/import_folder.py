from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from hub.accounts.models import Organization, User
from hub.accounts.names import find_owner
from hub.community.imports import import_folder, list_files
from hub.management.operator import OperatorCommand
from hub.repos.find import lookup
from hub.repos.lifecycle import create_repo


class Command(OperatorCommand):
    help = "Import a folder on this machine as a repository: import_folder DIR NAMESPACE/NAME --type model|dataset"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("name", metavar="NAMESPACE/NAME")
        parser.add_argument("--type", choices=["model", "dataset"], required=True)
        parser.add_argument("--private", action="store_true")

    def handle(self, *args: Any, folder: Path, name: str, **options: Any) -> None:
        namespace, _, short = name.partition("/")
        owner = find_owner(namespace)
        by = self.find_committer(owner)
        list_files(folder)  # an empty folder is refused before there is a repository for it
        repo = lookup(options["type"], name) or create_repo(
            type=options["type"], name=short, by=by, owner=owner, is_private=options["private"] or None
        )
        made = import_folder(folder=folder, repo=repo, by=by, title=f"Import {folder.resolve().name}")
        self.stdout.write(f"{repo.full_name} holds the folder at {made.revision.commit}.")

    def find_committer(self, owner: User | Organization) -> User:
        if isinstance(owner, User):
            return owner
        admin = owner.memberships.filter(role="admin", user__is_active=True).select_related("user").first()
        if admin is None:
            raise CommandError(f"The organization {owner} has no admin; add one first.")
        return admin.user
