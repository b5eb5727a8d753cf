"""The suppression store's SQLite file: opened, checked, its keys compared. Says nothing of people.

WAL with synchronous=FULL on a local disk: a committed row survives a power cut. A damaged store, a
newer one, or one made with a key that is not at hand stops the start; nothing is mended here.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from etl.errors import ConfigError
from etl.extract.keyed import StoreKey, check_keys, other_key
from etl.sqlite_file import SqliteFile

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

# `untracked` is 1 for who does not want opens told, NULL where no drop said. A feed's newest batch
# is known by its drop's order, not by its id. A lag is the time from an unsubscription to its
# effect here; `handed` are files for the CRM that it is not known to have taken; `left_out` counts
# events that were not told.
CLOSED_LOOP = """
ALTER TABLE outbox ADD COLUMN campaign_id TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN link TEXT NOT NULL DEFAULT '';
ALTER TABLE carriers ADD COLUMN untracked INTEGER;
UPDATE carrier_feeds SET batch = '';
ALTER TABLE seen ADD COLUMN left_out TEXT;
CREATE TABLE mailings (
  client TEXT NOT NULL, mailing_id TEXT NOT NULL, campaign_id TEXT NOT NULL, seen INTEGER NOT NULL,
  PRIMARY KEY (client, mailing_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE left_out (
  client TEXT NOT NULL, stream TEXT NOT NULL, why TEXT NOT NULL, events INTEGER NOT NULL,
  PRIMARY KEY (client, stream, why)
) STRICT, WITHOUT ROWID;
CREATE TABLE gaps (
  client TEXT NOT NULL, stream TEXT NOT NULL, since_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL,
  noticed_at TEXT NOT NULL, PRIMARY KEY (client, stream, since_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE lags (client TEXT NOT NULL, at INTEGER NOT NULL, seconds INTEGER NOT NULL) STRICT;
CREATE INDEX lags_by_client ON lags(client, at);
CREATE TABLE handed (client TEXT NOT NULL, name TEXT NOT NULL, at TEXT NOT NULL,
  PRIMARY KEY (client, name)) STRICT, WITHOUT ROWID
"""
WALKED_BYTES = 64 * 1024 * 1024
"""Up to two million entries are walked through at a start; more would delay it by seconds."""
STEPS = (SCHEMA, CLOSED_LOOP)
"""Step n leads from version n to n + 1; a step is never changed."""


def open_file(path: Path, keys: Sequence[StoreKey], *, read_only: bool = False) -> SqliteFile:
    """Open the store, made anew where there is none, and compare its keys with those at hand.

    Raises ConfigError (`store-key`) for another key, Mismatch (`store-damaged`) for a store that
    is damaged or newer than this release.
    """
    check_keys(keys)
    store = SqliteFile(path, "store-damaged", read_only=read_only)
    if not read_only:
        store.create()
    try:
        # People in the clear are in no copy: they wait in the file itself.
        store.check(STEPS, WALKED_BYTES, not_kept=("outbox",))
        with store.errors():
            _compare_keys(store, keys)
    except BaseException:
        store.close()
        raise
    return store


def _compare_keys(store: SqliteFile, keys: Sequence[StoreKey]) -> None:
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
