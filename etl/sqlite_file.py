"""One SQLite file of ours: durable, one connection per thread, errors in our own words.

WAL with synchronous=FULL on a local disk: a committed row survives a power cut. What is in the
file is not known here.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

from etl.durable import fsync_folder, temporary_name
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

    def check(
        self, steps: Sequence[str], most_bytes: int | None = None, not_kept: Sequence[str] = ()
    ) -> None:
        """Refuse a damaged file or a newer one; bring an empty or older one up to date.

        Step n leads from version n to version n + 1. An older file is copied beside first. A
        file of more than `most_bytes` is not walked through; its damages show when it is read.
        The copy lacks the rows of the tables `not_kept`.
        """
        version = len(steps)
        with self.errors():
            found = self._version()
            tables = int(
                self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            )
            if found > version:
                raise self.damaged(f"it has version {found}, this release knows {version}")
            if found == 0 and (tables or self.read_only):
                raise self.damaged("it has no version")
            walked = most_bytes is None or self.path.stat().st_size <= most_bytes
            check = "PRAGMA quick_check(1)"
            if found and walked and self.connection.execute(check).fetchone()[0] != "ok":
                raise self.damaged("quick_check failed")
            if found < version:
                if self.read_only:
                    raise Mismatch("not-migrated", file=self.path.name, found=found, known=version)
                self._bring_up_to_date(steps, not_kept)
            if _tables(self.connection) != _tables_of(tuple(steps)):
                # Made by a build that was never released under this version.
                raise self.damaged("its tables are not those of its version")

    def _version(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])

    def _bring_up_to_date(self, steps: Sequence[str], not_kept: Sequence[str]) -> None:
        """Take every step that is due in one transaction; a death leaves it all to be done."""
        with self.write() as db:
            # Asked again under the lock: another process may have been here meanwhile.
            found = self._version()
            if found >= len(steps):
                return
            if found:
                self._back_up(found, not_kept)
            for step in steps[found:]:
                for statement in filter(str.strip, step.split(";")):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={len(steps)}")
        fsync_folder(self.path.parent)

    def _back_up(self, found: int, not_kept: Sequence[str]) -> None:
        """Copy the file as it is now to `NAME.v1-backup`, private, whole or not at all, durably."""
        target = self.path.with_name(f"{self.path.name}.v{found}-backup")
        temporary = target.with_name(temporary_name(target.name))
        try:
            for left in (temporary, temporary.with_name(f"{temporary.name}-journal")):
                left.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, 0o600)
            try:
                os.fchmod(descriptor, 0o600)
                copy = sqlite3.connect(temporary, isolation_level=None)
                # Not by the connection that holds the write lock: that one waits for itself.
                source = self._connect()
                try:
                    source.backup(copy)
                    copy.execute("PRAGMA secure_delete=ON")
                    for table in not_kept:
                        copy.execute(f"DELETE FROM {table}")  # noqa: S608 - our own words
                    # One file alone: no WAL beside it that a rename would leave behind.
                    copy.execute("PRAGMA journal_mode=DELETE")
                finally:
                    copy.close()
                    source.close()
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(target)
            fsync_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise Mismatch("disk-error", detail=type(error).__name__) from None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the thread that asks."""
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            held = self._connect()
            self._local.connection = held
        return held

    def _connect(self) -> sqlite3.Connection:
        how = "mode=rw"
        if self.read_only:
            # Without a WAL nobody writes; only so SQLite leaves no files of its own beside it.
            wal = self.path.with_name(f"{self.path.name}-wal")
            how = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
        # check_same_thread is off only so that `close` may close them all; none is ever shared.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{how}",
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


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, frozenset[str]]]:
    """Every table with its columns."""
    sql = (
        "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
        " WHERE t.type = 'table'"
    )
    found: dict[str, set[str]] = {}
    for table, column in connection.execute(sql):
        found.setdefault(table, set()).add(column)
    return frozenset((table, frozenset(columns)) for table, columns in found.items())


@cache
def _tables_of(steps: tuple[str, ...]) -> frozenset[tuple[str, frozenset[str]]]:
    """The tables that these steps make."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(";".join(steps))
        return _tables(made)


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)
