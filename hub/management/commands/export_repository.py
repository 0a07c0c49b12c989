from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from hub.community.archives.writing import export_repo
from hub.management.operator import OperatorCommand
from hub.repos.find import lookup
from hub.repos.models import Repo


class Command(OperatorCommand):
    help = "Write a repository whole into one file: export_repository NAMESPACE/NAME --type T --to FILE.tar"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAMESPACE/NAME")
        parser.add_argument("--type", choices=Repo.Type.values, required=True)
        parser.add_argument("--to", type=Path, required=True, metavar="FILE.tar")
        parser.add_argument("--force", action="store_true", help="write over a file that is there")

    def handle(self, *args: Any, name: str, to: Path, force: bool, **options: Any) -> None:
        repo = lookup(options["type"], name)
        if repo is None:
            raise CommandError(f"There is no {options['type']} repository {name} here.")
        if to.is_dir():
            raise CommandError(f"{to} is a folder; name the file that is to be written in it.")
        if to.exists() and not force:
            raise CommandError(f"{to} is there already; choose another name, or add --force to write over it.")
        part = to.with_name(f"{to.name}.part")
        try:
            export = export_repo(repo, is_operator=True)
            with part.open("xb") as file:
                for piece in export.pieces:
                    file.write(piece)
            part.replace(to)  # only a whole archive has the name
        except OSError as problem:
            raise CommandError(f"{to} cannot be written: {problem.strerror}.") from None
        self.stdout.write(f"{to} holds {repo.full_name}: {export.size:,} bytes.")
