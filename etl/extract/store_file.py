"""The suppression store's SQLite file: opened, checked, its keys compared. Says nothing of people.

WAL with synchronous=FULL on a local disk: a committed row survives a power cut. A damaged store, a
newer one, or one made with a key that is not at hand stops the start; nothing is mended here.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from etl.durable import fsync_folder
from etl.errors import ConfigError, Mismatch
from etl.extract.keyed import StoreKey, check_keys, other_key

VERSION = 1

# An entry names its origin by number: a few origins, millions of entries of about 30 bytes.
# `lifted` marks an entry that no longer suppresses but is still known to have been told.
SCHEMA = """
CREATE TABLE keys (key_id TEXT PRIMARY KEY, check_value BLOB NOT NULL) STRICT;
CREATE TABLE origins (
  id INTEGER PRIMARY KEY, client TEXT NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL,
  about TEXT NOT NULL, key_id TEXT NOT NULL REFERENCES keys(key_id),
  UNIQUE (client, kind, source, about, key_id)
) STRICT;
CREATE TABLE entries (
  origin INTEGER NOT NULL REFERENCES origins(id), key BLOB NOT NULL, since INTEGER NOT NULL,
  lifted INTEGER, PRIMARY KEY (origin, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE patterns (client TEXT NOT NULL, pattern TEXT NOT NULL,
  PRIMARY KEY (client, pattern)) STRICT, WITHOUT ROWID;
CREATE TABLE carrier_feeds (
  id INTEGER PRIMARY KEY, client TEXT NOT NULL, feed TEXT NOT NULL,
  key_id TEXT NOT NULL REFERENCES keys(key_id), batch TEXT NOT NULL,
  UNIQUE (client, feed, key_id)
) STRICT;
CREATE TABLE carriers (
  feed INTEGER NOT NULL REFERENCES carrier_feeds(id), key BLOB NOT NULL,
  entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, opt_in_id TEXT NOT NULL,
  seen INTEGER NOT NULL, PRIMARY KEY (feed, key, entity_type, entity_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE cursors (client TEXT NOT NULL, stream TEXT NOT NULL, until_ms INTEGER NOT NULL,
  PRIMARY KEY (client, stream)) STRICT, WITHOUT ROWID;
CREATE TABLE seen (
  client TEXT NOT NULL, stream TEXT NOT NULL, digest BLOB NOT NULL, until_ms INTEGER NOT NULL,
  PRIMARY KEY (client, stream, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE blocklists (
  client TEXT PRIMARY KEY, kept INTEGER NOT NULL, given INTEGER NOT NULL, at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE fetches (
  id INTEGER PRIMARY KEY, client TEXT NOT NULL, completed_at TEXT NOT NULL,
  blocklist_entries INTEGER NOT NULL, entries INTEGER NOT NULL
) STRICT;
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT, client TEXT NOT NULL, file TEXT NOT NULL,
  recipient_id TEXT NOT NULL, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL,
  opt_in_id TEXT NOT NULL, derived TEXT NOT NULL, media_type TEXT NOT NULL, kind TEXT NOT NULL,
  source TEXT NOT NULL, time TEXT NOT NULL, mailing_id TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_by_file ON outbox(client, file, id);
CREATE TABLE handovers (
  id INTEGER PRIMARY KEY, client TEXT NOT NULL, file TEXT NOT NULL, name TEXT NOT NULL,
  temporary TEXT NOT NULL, last_row INTEGER NOT NULL, renaming INTEGER NOT NULL DEFAULT 0,
  intent_at TEXT NOT NULL, UNIQUE (client, file)
) STRICT;
"""


def damaged(detail: str) -> Mismatch:
    """The error of a store that cannot be used."""
    return Mismatch("store-damaged", detail=detail)


class StoreFile:
    """One SQLite file, one connection per thread, every write in an immediate transaction."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

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
        with self._lock:
            self._connections.append(connection)
        for pragma in ("busy_timeout=30000", "trusted_schema=OFF", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if not self.read_only:
            # Addresses pass through the outbox: what is deleted is overwritten.
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("PRAGMA temp_store=MEMORY")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=FULL")
            synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
            if mode != "wal" or synchronous != 2:  # noqa: PLR2004 - 2 is FULL
                raise damaged(f"journal_mode={mode}, synchronous={synchronous}")
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it or nothing, on disk when the block ends."""
        connection = self.connection
        with sqlite_errors():
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
        """One state of the store for all that is asked inside."""
        connection = self.connection
        with sqlite_errors():
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close every thread's connection."""
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()


@contextmanager
def sqlite_errors() -> Iterator[None]:
    """Turn SQLite's errors into ours, naming SQLite's own code and nothing of a row."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Mismatch("disk-error", detail=_name(error)) from None
    except sqlite3.DatabaseError as error:
        raise damaged(_name(error)) from None


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", type(error).__name__)


def open_file(path: Path, keys: Sequence[StoreKey], *, read_only: bool = False) -> StoreFile:
    """Open the store, made anew where there is none, and compare its keys with those at hand.

    Raises ConfigError (`store-key`) for another key, Mismatch (`store-damaged`) for a store that
    is damaged or newer than this release.
    """
    check_keys(keys)
    if not read_only:
        # Made here, so that it is private from its first byte on; its WAL inherits the mode.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise Mismatch("disk-error", detail=type(error).__name__) from None
    store = StoreFile(path, read_only=read_only)
    try:
        with sqlite_errors():
            _check(store)
            _compare_keys(store, keys)
    except BaseException:
        store.close()
        raise
    return store


def _check(store: StoreFile) -> None:
    """Refuse a damaged or newer store; give an empty file its tables."""
    connection = store.connection
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    if found > VERSION:
        raise damaged(f"it has version {found}, this release knows {VERSION}")
    if found == 0 and (tables or store.read_only):
        raise damaged("it has no version")
    if found == 0:
        connection.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
        fsync_folder(store.path.parent)
    elif connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise damaged("quick_check failed")


def _compare_keys(store: StoreFile, keys: Sequence[StoreKey]) -> None:
    """Refuse a store with rows of a key that is not at hand; note the keys that are new to it."""
    connection = store.connection
    known = dict(connection.execute("SELECT key_id, check_value FROM keys").fetchall())
    at_hand = {key.id: key for key in keys}
    wrong = [
        key_id
        for key_id, check_value in known.items()
        if (key_id in at_hand and at_hand[key_id].check_value != check_value)
        or (key_id not in at_hand and _used(connection, key_id))
    ]
    if wrong:
        raise ConfigError([other_key(key_id) for key_id in wrong])
    fresh = [(key.id, key.check_value) for key in keys if key.id not in known]
    if fresh and not store.read_only:
        with store.write():
            connection.executemany("INSERT INTO keys VALUES (?, ?)", fresh)


def _used(connection: sqlite3.Connection, key_id: str) -> bool:
    """Whether any row of the store was made with this key."""
    return bool(
        connection.execute(
            "SELECT EXISTS (SELECT 1 FROM origins o JOIN entries e ON e.origin = o.id"
            " WHERE o.key_id = ?1) OR EXISTS (SELECT 1 FROM carrier_feeds f"
            " JOIN carriers c ON c.feed = f.id WHERE f.key_id = ?1)",
            (key_id,),
        ).fetchone()[0]
    )
