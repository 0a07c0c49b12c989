from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from hub.accounts.names import find_owner
from hub.community.archives.reading import import_archive
from hub.management.commands.import_folder import find_committer
from hub.management.operator import OperatorCommand


class Command(OperatorCommand):
    help = "Make a repository of the archive of another hub: import_repository FILE.tar NAMESPACE/NAME"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("name", metavar="NAMESPACE/NAME")
        seen = parser.add_mutually_exclusive_group()
        seen.add_argument("--private", action="store_true", default=None, help="for its members only")
        seen.add_argument("--public", action="store_true", help="also where it was private")

    def handle(self, *args: Any, file: Path, name: str, private: bool | None, public: bool, **options: Any) -> None:
        namespace, slash, short = name.partition("/")
        if not (namespace and slash and short):
            raise CommandError(f"Write where it goes as NAMESPACE/NAME, like alice/poems; {name!r} is no such name.")
        owner = find_owner(namespace)
        by = find_committer(owner)
        try:
            with file.open("rb") as stream:
                made = import_archive(
                    stream=stream, by=by, owner=owner, name=short, is_private=False if public else private
                )
        except OSError as problem:
            raise CommandError(f"{file} cannot be read: {problem.strerror}.") from None
        self.stdout.write(f"{made.full_name} is there, a {made.type}, with {made.discussions.count()} discussions.")
