"""One SQLite file of ours: durable, one connection per thread, errors in our own words.

WAL with synchronous=FULL on a local disk: a committed row survives a power cut. What is in the
file is not known here.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etl.durable import fsync_folder
from etl.errors import Mismatch


class SqliteFile:
    """A file whose every write is an immediate transaction, whose errors are Mismatch."""

    def __init__(self, path: Path, damaged_code: str, *, read_only: bool = False) -> None:
        """Nothing is opened yet; `damaged_code` is the reason given for a file that is damaged."""
        self.path = path
        self.read_only = read_only
        self._damaged_code = damaged_code
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def damaged(self, detail: str) -> Mismatch:
        """The error of a file that cannot be used."""
        return Mismatch(self._damaged_code, detail=detail)

    def create(self) -> None:
        """Make the file where there is none, private from its first byte; its WAL inherits it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise Mismatch("disk-error", detail=type(error).__name__) from None

    def check(self, version: int, schema: str) -> None:
        """Refuse a damaged file or a newer one; give an empty file its tables."""
        with self.errors():
            connection = self.connection
            found = int(connection.execute("PRAGMA user_version").fetchone()[0])
            tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
            if found > version:
                raise self.damaged(f"it has version {found}, this release knows {version}")
            if found == 0 and (tables or self.read_only):
                raise self.damaged("it has no version")
            if found == 0:
                script = f"BEGIN IMMEDIATE;{schema}PRAGMA user_version={version};COMMIT;"
                connection.executescript(script)
                fsync_folder(self.path.parent)
            elif connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise self.damaged("quick_check failed")

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the thread that asks."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            held = self._connect()
            self._local.connection = held
        return held

    def _connect(self) -> sqlite3.Connection:
        # check_same_thread is off only so that `close` may close them all; none is ever shared.
        connection = sqlite3.connect(
            self.path.absolute().as_uri() + ("?mode=ro" if self.read_only else "?mode=rw"),
            uri=True,
            isolation_level=None,
            timeout=30,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        with self._lock:
            self._connections.append(connection)
        for pragma in ("busy_timeout=30000", "trusted_schema=OFF", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if not self.read_only:
            # Addresses pass through the store's outbox: what is deleted is overwritten.
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA temp_store=MEMORY")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=FULL")
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            if mode != "wal" or synchronous != 2:  # noqa: PLR2004 - 2 is FULL
                raise self.damaged(f"journal_mode={mode}, synchronous={synchronous}")
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing, on disk when the block ends."""
        with self.errors():
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back by itself, as it does on a full disk.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One state of the file for all that is asked inside."""
        with self.errors():
            connection = self.connection
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn SQLite's errors into ours, naming SQLite's own code and nothing of a row."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise Mismatch("disk-error", detail=_name(error)) from None
        except sqlite3.DatabaseError as error:
            raise self.damaged(_name(error)) from None

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
