"""What the operator's commands share: they work on a fresh data folder and beside a running site, and refuse in one sentence."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from hub.common.errors import HubError
from hub.storage.errors import StorageError


class OperatorCommand(BaseCommand):
    requires_system_checks: list[str] = []  # `up` has them; here they would load every page and door first

    def execute(self, *args: Any, **options: Any) -> str | None:
        prepare_database()
        try:
            return super().execute(*args, **options)
        except (HubError, StorageError) as problem:
            raise CommandError(str(problem)) from None


def describe_link(path: str) -> str:
    """A link to hand on: whole where the hub's address is known (the site runs, or PUBLIC_URL is set)."""
    return f"{settings.PUBLIC_URL}{path}" if settings.PUBLIC_URL else f"{path} (after the hub's address)"


def prepare_database() -> None:
    """Make the tables of a data folder that is new. Raises CommandError when they are of an older version: a site that
    runs on them would break, so that is for the next start."""
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing and executor.loader.applied_migrations:
        raise CommandError(
            f"The database is older than this program ({len(missing)} changes are missing); "
            "stop the site and start it with ./manage.py up, which brings it up to date."
        )
    if missing:
        call_command("migrate", verbosity=0, interactive=False)
