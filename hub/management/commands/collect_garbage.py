from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from hub.management.operator import OperatorCommand
from hub.repos.garbage import GRACE, collect, describe


class Command(OperatorCommand):
    help = "Give back the bytes of large files that nothing names any more: collect_garbage [--dry-run] [--grace DAYS]"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would go, change nothing")
        parser.add_argument(
            "--grace",
            type=float,
            default=GRACE.days,
            metavar="DAYS",
            help=f"how long a file must have been out of use (default {GRACE.days}; at least 1)",
        )

    def handle(self, *args: Any, dry_run: bool, grace: float, **options: Any) -> None:
        if not 1 <= grace <= 3650:
            raise CommandError(
                "The grace is from 1 to 3650 days; uploads that wait for their commit need at least one."
            )
        report = collect(now=timezone.now(), grace=timedelta(days=grace), dry_run=dry_run)
        self.stdout.write(("Nothing was changed. " if dry_run else "") + describe(report, dry_run=dry_run))
