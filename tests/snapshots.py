"""Scenes that many tests begin with: built once a run, then put back as they were left - rows, folder and objects."""

import pickle
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Snapshot:
    rows: sqlite3.Connection  # a database in memory
    folder: Path  # what lay in the data folder
    made: bytes  # what the scene returned, pickled


class Snapshots:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: dict[str, Snapshot] = {}

    def begin(self, name: str, data_dir: Path, build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `build` makes in an empty hub, by name: its work the first time, and later what it left then.

        Each test has rows, files and objects of its own. The database must be committed to, not rolled back, and nothing
        in it may name the folder. Other databases than SQLite are filled anew for each test."""
        from django.db import connection

        if connection.vendor != "sqlite":
            return build()
        assert not connection.in_atomic_block, "a scene that is put back needs transactional_db"
        if name in self._taken:
            return restore(self._taken[name], connection, data_dir)
        made = build()
        self._taken[name] = take(connection, data_dir, self._folder / name, made)
        return made


def take(connection: Any, data_dir: Path, folder: Path, made: dict[str, Any]) -> Snapshot:
    rows = sqlite3.connect(":memory:", check_same_thread=False)
    connection.connection.backup(rows)
    shutil.copytree(data_dir, folder, symlinks=True)
    return Snapshot(rows, folder, pickle.dumps(made))


def restore(snapshot: Snapshot, connection: Any, data_dir: Path) -> dict[str, Any]:
    connection.ensure_connection()
    snapshot.rows.backup(connection.connection)
    shutil.copytree(snapshot.folder, data_dir, symlinks=True, dirs_exist_ok=True)
    made: dict[str, Any] = pickle.loads(snapshot.made)
    return made
