"""What the database itself refuses, whoever writes to it: a release without its gate, a change of what is published, and any
change of the audit log.

They stand beside the checks of moderation.releasing.publishing and repeat what can be told from rows alone, so that neither a mistake
in this program nor a line of SQL gets around them. They are installed after every `migrate` and not by one migration: SQLite
makes a table anew to change it, which drops its triggers and fails while triggers of other tables speak of it."""

from typing import Any

from django.apps import AppConfig
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.signals import post_migrate, pre_migrate

from hub.common.errors import Conflict
from moderation.guards.rules import Guard, list_guards

CODE = "23000"  # integrity_constraint_violation: Django raises IntegrityError, as for a constraint


def install(connection: BaseDatabaseWrapper, *events: str) -> None:
    """Put guards in force, all or those of some events, in place of what stood there. Nothing while a table is missing."""
    guards = [guard for guard in list_guards(connection.vendor) if not events or guard.event in events]
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
    if not {guard.table for guard in guards} <= tables:
        return
    with transaction.atomic(connection.alias), connection.cursor() as cursor:
        for guard in guards:
            for statement in drop_statements(guard, connection.vendor) + create_statements(guard, connection.vendor):
                cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper, *events: str) -> None:
    """Take guards away, all or those of some events, for as long as tables are changed."""
    with connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for guard in list_guards(connection.vendor):
            if guard.table in tables and (not events or guard.event in events):
                for statement in drop_statements(guard, connection.vendor):
                    cursor.execute(statement)


def drop_statements(guard: Guard, vendor: str) -> list[str]:
    return [f"DROP TRIGGER IF EXISTS {guard.name}" + (f" ON {guard.table}" if vendor == "postgresql" else "")]


def create_statements(guard: Guard, vendor: str) -> list[str]:
    head = f"CREATE TRIGGER {guard.name} BEFORE {guard.event} ON {guard.table} FOR EACH ROW"
    if vendor == "sqlite":
        lines = [f"SELECT RAISE(ABORT, {quote(sentence)}) WHERE {condition};" for condition, sentence in guard.refusals]
        return [f"{head} BEGIN\n" + "\n".join(lines) + "\nEND"]
    lines = [
        f"IF {condition} THEN RAISE EXCEPTION USING ERRCODE = '{CODE}', MESSAGE = {quote(sentence)}; END IF;"
        for condition, sentence in guard.refusals
    ]
    answer = "OLD" if guard.event == "DELETE" else "NEW"
    body = "\n".join([*lines, f"RETURN {answer};"])
    function = f"CREATE OR REPLACE FUNCTION {guard.name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN\n{body}\nEND $$"
    return [function, f"{head} EXECUTE FUNCTION {guard.name}()"]


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def require_in_force(connection: BaseDatabaseWrapper) -> None:
    """Raises Conflict while a guard is missing: an upgrade that was cut off left the database without."""
    table = (
        "sqlite_master WHERE type = 'trigger'" if connection.vendor == "sqlite" else "pg_trigger WHERE tgenabled <> 'D'"
    )
    column = "name" if connection.vendor == "sqlite" else "tgname"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table}")
        found = {str(name) for (name,) in cursor.fetchall()}
    if {guard.name for guard in list_guards(connection.vendor)} - found:
        raise Conflict("The guards of the database are not in force; run ./manage.py migrate and try again.")


def before_migrations(sender: AppConfig, using: str, **_: Any) -> None:
    from django.db import connections

    if connections[using].vendor == "sqlite":
        remove(connections[using])


def after_migrations(sender: AppConfig, using: str, plan: Any = None, **_: Any) -> None:
    from django.db import connections

    if plan is not None:  # `flush` announces itself as a migration without a plan, and changes no tables
        install(connections[using])


def watch(config: AppConfig) -> None:
    pre_migrate.connect(before_migrations, sender=config, dispatch_uid="moderation.guards")
    post_migrate.connect(after_migrations, sender=config, dispatch_uid="moderation.guards")
