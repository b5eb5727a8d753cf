"""The journal's SQLite file: opened, checked, migrated. Says nothing of drops.

WAL with synchronous=FULL on a local disk: a committed row survives a power cut. A damaged journal
stops the start; an empty one is made only where none was before.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.errors import Mismatch

VERSION = 1

SCHEMA = """
CREATE TABLE batches (
  id TEXT PRIMARY KEY, feed TEXT, name TEXT NOT NULL, place TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
  drop_order TEXT NOT NULL, claimed_at TEXT NOT NULL,
  held_code TEXT, held_since TEXT, held_next TEXT, held_tries INTEGER NOT NULL DEFAULT 0,
  held_facts TEXT,
  deaths INTEGER NOT NULL DEFAULT 0,
  check_json TEXT, staged_sha256 TEXT, staged_rows INTEGER, accepted_sha256 TEXT,
  upload_name TEXT, upload_temporary TEXT, upload_size INTEGER, upload_sha256 TEXT,
  upload_intent_at TEXT, uploaded_at TEXT,
  case_name TEXT, list_json TEXT, end_code TEXT, end_facts TEXT, ended_at TEXT
) STRICT;
CREATE INDEX batches_by_place ON batches(place, feed);
CREATE TABLE moves (batch TEXT NOT NULL, place TEXT NOT NULL, at TEXT NOT NULL) STRICT;
CREATE TABLE rounds (
  batch TEXT NOT NULL, round INTEGER NOT NULL, counted INTEGER NOT NULL,
  intent_at TEXT NOT NULL, ack_at TEXT, count_before INTEGER, PRIMARY KEY (batch, round)
) STRICT;
CREATE TABLE calls (
  batch TEXT NOT NULL, round INTEGER NOT NULL, number INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL, skipped TEXT NOT NULL, again INTEGER NOT NULL,
  intent_at TEXT NOT NULL, ack_at TEXT, codes BLOB, refused INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (batch, round, number)
) STRICT;
CREATE TABLE late (batch TEXT NOT NULL, row INTEGER NOT NULL, kind TEXT NOT NULL,
  PRIMARY KEY (batch, row)) STRICT;
CREATE TABLE poisoned (batch TEXT NOT NULL, row INTEGER NOT NULL, words TEXT NOT NULL,
  PRIMARY KEY (batch, row)) STRICT;
CREATE TABLE completed (
  feed TEXT NOT NULL, batch TEXT NOT NULL PRIMARY KEY, rows_sent INTEGER NOT NULL,
  drop_order TEXT NOT NULL, sha256 TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE TABLE lists (client TEXT NOT NULL, list_id INTEGER NOT NULL, id_rule TEXT NOT NULL,
  PRIMARY KEY (client, list_id)) STRICT;
CREATE TABLE requests (
  number INTEGER PRIMARY KEY, verb TEXT NOT NULL, batch TEXT, codes TEXT NOT NULL,
  why TEXT NOT NULL, user TEXT NOT NULL, at TEXT NOT NULL, taken_at TEXT, outcome TEXT
) STRICT;
CREATE TABLE allowed (batch TEXT NOT NULL, code TEXT NOT NULL, request INTEGER NOT NULL,
  PRIMARY KEY (batch, code)) STRICT;
CREATE TABLE pulse (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


def damaged(detail: str) -> Mismatch:
    """The error that stops the start when the journal cannot be used."""
    return Mismatch("journal-damaged", detail=detail)


class Database:
    """One SQLite file, one connection per thread, every write in an immediate transaction."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        try:
            self._start()
        except sqlite3.Error as error:
            raise damaged(type(error).__name__) from None

    def _start(self) -> None:
        connection = self.connection
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > VERSION:
            raise Mismatch("journal-newer", found=found, known=VERSION)
        if self.read_only:
            if found == 0:
                raise damaged("it is empty")
            return
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if found == 0 and tables:
            raise damaged("it has tables but no version")
        if found == 0:
            connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        elif (words := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
            raise damaged(f"quick_check failed ({len(words)} characters)")

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is not None:
            return held
        mode = "ro" if self.read_only else "rwc"
        # check_same_thread is off only so that `close` may close them all; none is ever shared.
        connection = sqlite3.connect(
            f"file:{self.path}?mode={mode}",
            uri=True,
            isolation_level=None,
            timeout=30,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA foreign_keys=ON")
        if not self.read_only:
            mode_now = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=FULL")
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            if mode_now != "wal" or synchronous != 2:  # noqa: PLR2004 - 2 is FULL
                raise damaged(f"journal_mode={mode_now}, synchronous={synchronous}")
        self._local.connection = connection
        with self._lock:
            self._open.append(connection)
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing, on disk when the block ends."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
        self._local = threading.local()
