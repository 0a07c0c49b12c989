import hashlib
import sys
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
from hub.repos.models import Repo
from hub.repos.places import pair
from hub.storage.git import TreeEntry
from hub.storage.git.objects import hash_object


class Command(OperatorCommand):
    help = "Import a folder on this machine as a repository: import_folder DIR NAMESPACE/NAME --type model|dataset"

    def run_from_argv(self, argv: list[str]) -> None:
        for word in argv[2:]:
            if word.startswith("-") and Path(word).is_dir():  # the parser would take it for an option
                sys.exit(f"A folder whose name begins with a dash is written with ./ before it: ./{word}")
        super().run_from_argv(argv)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("name", metavar="NAMESPACE/NAME")
        parser.add_argument("--type", choices=["model", "dataset"], required=True)
        parser.add_argument("--private", action="store_true")

    def handle(self, *args: Any, folder: Path, name: str, **options: Any) -> None:
        namespace, slash, short = name.partition("/")
        if not (namespace and slash and short):
            raise CommandError(
                f"Write where the folder goes as NAMESPACE/NAME, like alice/poems; {name!r} is no such name."
            )
        owner = find_owner(namespace)
        by = find_committer(owner)
        files = list_files(folder)  # an empty folder is refused before there is a repository for it
        repo = lookup(options["type"], name) or create_repo(
            type=options["type"], name=short, by=by, owner=owner, is_private=options["private"] or None
        )
        if holds(repo, {path.relative_to(folder).as_posix(): path for path in files}):
            self.stdout.write(f"Nothing changed: {repo.full_name} holds the folder already.")
            return
        made = import_folder(folder=folder, repo=repo, by=by, title=f"Import {folder.resolve().name}")
        self.stdout.write(f"{repo.full_name} holds the folder at {made.revision.commit}.")


def find_committer(owner: User | Organization) -> User:
    """In whose name an operator writes into a namespace."""
    if isinstance(owner, User):
        return owner
    admin = owner.memberships.filter(role="admin", user__is_active=True).select_related("user").first()
    if admin is None:
        raise CommandError(f"The organization {owner} has no admin; add one first.")
    return admin.user


def holds(repo: Repo, files: dict[str, Path]) -> bool:
    """Whether the newest commit has each of the files, by its path in the repository, just as it is on the disk."""
    members = pair(repo).members
    head = members.read_ref(f"refs/heads/{repo.default_branch}")
    return head is not None and all(is_same(path, members.entry(head, name)) for name, path in files.items())


def is_same(path: Path, entry: TreeEntry | None) -> bool:
    if entry is None or entry.size != path.stat().st_size:
        return False
    if entry.lfs is None:
        return hash_object("blob", path.read_bytes()) == entry.oid
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == entry.lfs.sha256
