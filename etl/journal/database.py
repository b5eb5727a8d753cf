"""The journal's SQLite file: its tables, its version. Says nothing of drops.

A damaged journal stops the start; an empty one is made only where none was before.
"""

from pathlib import Path

from etl.sqlite_file import SqliteFile

TABLES = """
CREATE TABLE batches (
  id TEXT PRIMARY KEY, feed TEXT, name TEXT NOT NULL, place TEXT NOT NULL,
  size_bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
  drop_order TEXT NOT NULL, claimed_at TEXT NOT NULL,
  held_code TEXT, held_since TEXT, held_next TEXT, held_tries INTEGER NOT NULL DEFAULT 0,
  held_facts TEXT,
  deaths INTEGER NOT NULL DEFAULT 0,
  check_json TEXT, staged_sha256 TEXT, staged_rows INTEGER, accepted_sha256 TEXT,
  target TEXT,
  upload_account TEXT, upload_name TEXT, upload_temporary TEXT, upload_size INTEGER,
  upload_sha256 TEXT,
  upload_intent_at TEXT, uploaded_at TEXT,
  case_name TEXT, list_json TEXT, end_code TEXT, end_facts TEXT, ended_at TEXT,
  finished_at TEXT
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
  number INTEGER PRIMARY KEY, feed TEXT NOT NULL, batch TEXT NOT NULL UNIQUE,
  rows_sent INTEGER NOT NULL,
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

# `batches.deaths` is not used any more: deaths are counted by step.
ROLLBACKS_AND_STEPS = """
ALTER TABLE batches ADD COLUMN rollback_of TEXT;
ALTER TABLE requests ADD COLUMN feed TEXT;
ALTER TABLE requests ADD COLUMN source TEXT;
CREATE TABLE steps (
  batch TEXT NOT NULL, step TEXT NOT NULL, begun INTEGER NOT NULL, PRIMARY KEY (batch, step)
) STRICT;
"""

# `held_was` and `held_since` stay while a held batch is tried again; `held_at` is the last hold.
WHAT_WAS_SEEN = """
ALTER TABLE requests ADD COLUMN undone TEXT;
ALTER TABLE batches ADD COLUMN held_was TEXT;
ALTER TABLE batches ADD COLUMN held_at TEXT;
UPDATE batches SET held_was = held_code, held_at = held_since;
"""

STEPS = (TABLES, ROLLBACKS_AND_STEPS, WHAT_WAS_SEEN)
"""Step n leads from version n to n + 1; an empty file takes them all. A step is never changed."""
VERSION = len(STEPS)


def open_database(path: Path, *, read_only: bool = False) -> SqliteFile:
    """Open the journal's file, made anew where there is none, brought up to date where it is older.

    Mismatch `journal-damaged` when it is damaged or newer than this release, `disk-error` when the
    disk fails, `not-migrated` when it is older and only to be read.
    """
    database = SqliteFile(path, "journal-damaged", read_only=read_only)
    if not read_only:
        database.create()
    try:
        database.check(STEPS)
    except BaseException:
        database.close()
        raise
    return database
