"""What the guards of the database refuse, done all the same: rows that tests make up, and the emptying between tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def lifted() -> Iterator[None]:
    """No guard is in force within."""
    from django.db import connection

    from moderation import guards

    if connection.vendor == "postgresql":  # no table is changed while rows of it wait for their foreign keys
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            yield
            cursor.execute("SET session_replication_role = origin")
        return
    guards.remove(connection)
    try:
        yield
    finally:
        guards.install(connection)


def show_release(repo: Any, tag: str = "v1.0.0", commit: str = "", **more: Any) -> Any:
    """A row of what is shown, as if the gate had published it."""
    from hub.repos.models import RepoRelease

    with lifted():
        return RepoRelease.objects.create(repo=repo, tag=tag, commit=commit or repo.head, **more)


def set_shown_state(row: Any, state: str) -> None:
    with lifted():
        row.state = state
        row.save()


def let_tests_empty_the_tables(patch: pytest.MonkeyPatch) -> None:
    """SQLite empties a table row by row, which the guards of deletions refuse; PostgreSQL truncates."""
    from django.db import connection

    from moderation import guards

    if connection.vendor != "sqlite":
        return
    operations = type(connection.ops)
    empty = operations.execute_sql_flush

    tables = {guard.table for guard in guards.list_guards("sqlite") if guard.event == "DELETE"}
    is_filled = "SELECT " + " OR ".join(f"EXISTS (SELECT 1 FROM {table})" for table in sorted(tables))

    def empty_unguarded(self: Any, statements: list[str]) -> None:
        with connection.cursor() as cursor:
            is_guarded = cursor.execute(is_filled).fetchone()[0]
        if not is_guarded:  # as after most tests
            return empty(self, statements)
        guards.remove(connection, "DELETE")
        try:
            empty(self, statements)
        finally:
            guards.install(connection, "DELETE")

    patch.setattr(operations, "execute_sql_flush", empty_unguarded)
