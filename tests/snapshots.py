"""Scenes that many tests begin with: built once a run, then put back as they were left - rows, folder and objects."""

import pickle
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EMPTY_COPY_BYTES = 21  # signature, flags and length of an extension, and the end


@dataclass(frozen=True)
class Snapshot:
    rows: Any  # a database in memory, or `Copies`
    folder: Path  # what lay in the data folder
    made: bytes  # what the scene returned, pickled


class Snapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: dict[str, Snapshot] = {}

    def begin(self, name: str, data_dir: Path, build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `build` makes in an empty hub, by name: its work the first time, and later what it left then.

        Each test has rows, files and objects of its own. The database must be committed to, not rolled back, and nothing
        in it may name the folder."""
        from django.db import connection

        assert not connection.in_atomic_block, "a scene that is put back needs transactional_db"
        if name in self._taken:
            return restore(self._taken[name], connection, data_dir)
        made = build()
        self._taken[name] = take(connection, data_dir, self._folder / name, made)
        return made


def take(connection: Any, data_dir: Path, folder: Path, made: dict[str, Any]) -> Snapshot:
    rows = (keep_in_memory if connection.vendor == "sqlite" else keep_copies)(connection)
    shutil.copytree(data_dir, folder, symlinks=True)
    return Snapshot(rows, folder, pickle.dumps(made))


def restore(snapshot: Snapshot, connection: Any, data_dir: Path) -> dict[str, Any]:
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        snapshot.rows.backup(connection.connection)
    else:
        snapshot.rows.put_back(connection)
    shutil.copytree(snapshot.folder, data_dir, symlinks=True, dirs_exist_ok=True)
    made: dict[str, Any] = pickle.loads(snapshot.made)
    return made


def keep_in_memory(connection: Any) -> sqlite3.Connection:
    rows = sqlite3.connect(":memory:", check_same_thread=False)
    connection.connection.backup(rows)
    return rows


@dataclass(frozen=True)
class Copies:
    """Of the tables of PostgreSQL that hold anything, and how far their numbers had come."""

    tables: dict[str, bytes]
    numbers: list[tuple[str, int]]

    def put_back(self, connection: Any) -> None:
        from tests.guards import lifted

        with lifted(), connection.connection.cursor() as cursor:  # within no order of tables holds
            for table, rows in self.tables.items():
                with cursor.copy(f'COPY "{table}" FROM STDIN (FORMAT binary)') as copy:
                    copy.write(rows)
            for name, number in self.numbers:
                cursor.execute("SELECT setval(%s, %s)", [name, number])


def keep_copies(connection: Any) -> Copies:
    found = {}
    with connection.connection.cursor() as cursor:
        for table in connection.introspection.django_table_names(only_existing=True, include_views=False):
            with cursor.copy(f'COPY "{table}" TO STDOUT (FORMAT binary)') as copy:
                rows = b"".join(bytes(piece) for piece in copy)
            if len(rows) > EMPTY_COPY_BYTES:
                found[table] = rows
        cursor.execute("SELECT quote_ident(sequencename), last_value FROM pg_sequences WHERE last_value IS NOT NULL")
        return Copies(found, cursor.fetchall())
