"""Which xorbs hold a chunk: the memory of deduplication.

One SQLite file in WAL mode: it survives a kill at any moment, many processes read it while one writes, and a B-tree
keeps memory flat (about 40 bytes of disk for each chunk of 64 KiB). It is a hint and never the truth. Whoever uses an
answer checks it against the xorb, a lost row costs space and no bytes, and a lost or damaged file is rebuilt from the
footers of the xorbs. So a busy or full disk never fails an upload. Needs a local file system, as WAL does.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hub.storage.xet.xorbs import XorbIndex

_PREFIX_BYTES = 16  # of the chunk hash; the xorb itself tells the rest
_MAX_PLACES = 32  # a chunk of zeros is in thousands of xorbs
_BUSY_TIMEOUT_S = 10.0
_NEIGHBOURS_BEFORE, _NEIGHBOURS_AFTER = 2, 6  # clients send the xorbs of a file side by side, so roughly in order

_SCHEMA = """
CREATE TABLE IF NOT EXISTS xorb (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS chunk (
    prefix BLOB NOT NULL, xorb INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (prefix, xorb)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

log = logging.getLogger(__name__)


class ChunkIndex:
    """Lookup from chunk to (xorb, position). Safe between threads, forks and processes."""

    def __init__(self, path: Path, list_xorbs: Callable[[], Iterable[XorbIndex]]) -> None:
        self._path = path
        self._list_xorbs = list_xorbs
        self._local = threading.local()

    def find(self, chunk_hash: bytes) -> list[tuple[bytes, int]]:
        """(xorb hash, position) of places where the chunk may be, newest first; at most 32."""
        query = (
            "SELECT xorb.hash, chunk.position FROM chunk JOIN xorb ON xorb.id = chunk.xorb"
            " WHERE chunk.prefix = ? ORDER BY chunk.xorb DESC LIMIT ?"
        )
        try:
            return list(self._connect().execute(query, (chunk_hash[:_PREFIX_BYTES], _MAX_PLACES)))
        except sqlite3.Error as error:
            self._recover(error)
            return []

    def find_neighbours(self, xorb_hash: bytes) -> list[bytes]:
        """Xorbs that arrived just before and after this one: the rest of a large file, most likely."""
        query = (
            "SELECT near.hash FROM xorb JOIN xorb AS near ON near.id BETWEEN xorb.id - ? AND xorb.id + ?"
            " WHERE xorb.hash = ? AND near.id != xorb.id ORDER BY near.id"
        )
        try:
            rows = self._connect().execute(query, (_NEIGHBOURS_BEFORE, _NEIGHBOURS_AFTER, xorb_hash))
            return [row[0] for row in rows]
        except sqlite3.Error as error:
            self._recover(error)
            return []

    def add(self, xorb: XorbIndex) -> None:
        try:
            self._add(self._connect(), xorb)
        except sqlite3.Error as error:
            self._recover(error)

    def remove(self, xorb: XorbIndex) -> None:
        try:
            connection = self._connect()
            with _transaction(connection):
                row = connection.execute("SELECT id FROM xorb WHERE hash = ?", (xorb.xorb_hash,)).fetchone()
                if row is None:
                    return
                rows = ((xorb.hash_at(at)[:_PREFIX_BYTES], row[0]) for at in range(len(xorb)))
                connection.executemany("DELETE FROM chunk WHERE prefix = ? AND xorb = ?", rows)
                connection.execute("DELETE FROM xorb WHERE id = ?", row)
        except sqlite3.Error as error:
            self._recover(error)

    def rebuild(self) -> None:
        """Enter every stored xorb again; harmless when two processes do it, or when most rows are there."""
        connection = self._connect()
        for xorb in self._list_xorbs():
            self._add(connection, xorb)
        connection.execute("INSERT OR REPLACE INTO state VALUES ('complete', 'yes')")

    @staticmethod
    def _add(connection: sqlite3.Connection, xorb: XorbIndex) -> None:
        with _transaction(connection):
            connection.execute("INSERT OR IGNORE INTO xorb (hash) VALUES (?)", (xorb.xorb_hash,))
            (number,) = connection.execute("SELECT id FROM xorb WHERE hash = ?", (xorb.xorb_hash,)).fetchone()
            # Sorted: neighbours in the B-tree are written together.
            rows = sorted((xorb.hash_at(at)[:_PREFIX_BYTES], number, at) for at in range(len(xorb)))
            connection.executemany("INSERT OR IGNORE INTO chunk VALUES (?, ?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        """The connection of this thread. The first use of a new file rebuilds it."""
        known: tuple[int, sqlite3.Connection] | None = getattr(self._local, "connection", None)
        if known is not None and known[0] == os.getpid():
            return known[1]
        self._local.inherited = known  # from before a fork; closing it here could disturb the parent
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the newest rows, never the file
        connection.executescript(_SCHEMA)
        self._local.connection = (os.getpid(), connection)
        if connection.execute("SELECT 1 FROM state WHERE name = 'complete'").fetchone() is None:
            self.rebuild()
        return connection

    def _recover(self, error: sqlite3.Error) -> None:
        log.warning("The chunk index could not be used (%s); deduplication pauses.", error)
        # OperationalError is a moment's trouble (busy, disk full); any other DatabaseError is a damaged file.
        if isinstance(error, sqlite3.OperationalError) or not isinstance(error, sqlite3.DatabaseError):
            return
        if (known := getattr(self._local, "connection", None)) is not None:
            with suppress(sqlite3.Error):
                known[1].close()
            del self._local.connection
        with suppress(FileNotFoundError):
            os.replace(self._path, self._path.with_suffix(".damaged"))
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")  # the write lock at once: waiting writers queue instead of failing
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
