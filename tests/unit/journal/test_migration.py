"""A journal of an earlier release: backed up, brought up to date in one transaction, or left."""

import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from etl.batch import Place
from etl.errors import Mismatch
from etl.journal import Journal
from etl.journal.database import ROLLBACKS_AND_STEPS, VERSION

BATCH = "20261123T090000Z-00000a"

# The tables of version 1 as that release wrote them. Never to be changed.
VERSION_1 = """
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


@pytest.fixture
def path(tmp_path):
    """A journal of version 1 with one batch in the middle of a refill, as a WAL file."""
    found = tmp_path / "journal.sqlite3"
    raw = sqlite3.connect(found, isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.executescript(f"BEGIN;{VERSION_1}PRAGMA user_version=1;COMMIT;")
    raw.execute(
        "INSERT INTO batches (id, feed, name, place, size_bytes, sha256, mtime_ns, drop_order,"
        " claimed_at, deaths, target) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (BATCH, "a", "a_1.csv", "REFILLING", 7, "x", 0, "1", "2026-11-23T09:00:00.000000+00:00",
         2, "1/7"),
    )  # fmt: skip
    raw.execute("INSERT INTO rounds VALUES (?,1,0,'x',NULL,NULL)", (BATCH,))
    raw.execute(
        "INSERT INTO requests (verb, batch, codes, why, user, at) VALUES"
        " ('release', ?, '[\"shrunk\"]', 'w', 'u', 'x')", (BATCH,)
    )  # fmt: skip
    raw.close()
    return found


def tables(path):
    """Every table of a file with its columns, and its version."""
    raw = sqlite3.connect(path)
    try:
        names = [row[0] for row in raw.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
        found = {
            name: [row[1:] for row in raw.execute(f"PRAGMA table_info({name})")] for name in names
        }
        return found, raw.execute("PRAGMA user_version").fetchone()[0]
    finally:
        raw.close()


def content(path):
    """Every row of a file, as text."""
    raw = sqlite3.connect(path)
    try:
        return list(raw.iterdump())
    finally:
        raw.close()


def test_an_older_journal_is_brought_up_to_date(path):
    """What it knows stays: the dirty list, its round, a request that waits."""
    journal = Journal(path)
    try:
        batch = journal.batches.get(BATCH)
        assert batch.place is Place.REFILLING
        assert batch.rollback_of is None
        assert journal.refills.target(batch) == "1/7"
        assert journal.refills.round(batch).number == 1
        (request,) = journal.requests.waiting()
        assert (request.verb, request.batch, request.feed) == ("release", BATCH, None)
    finally:
        journal.close()


def test_a_migrated_journal_is_like_a_new_one(path, tmp_path):
    """The same tables, columns and version, whichever way they came."""
    Journal(path).close()
    Journal(tmp_path / "new.sqlite3").close()
    assert tables(path) == tables(tmp_path / "new.sqlite3")
    assert tables(path)[1] == VERSION == 3
    assert "steps" in tables(path)[0]


def test_the_backup_is_the_file_as_it_was(path):
    """Private, one file, every row, the old version; a new journal has none."""
    before = content(path)
    Journal(path).close()
    backup = path.with_name("journal.sqlite3.v1-backup")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert content(backup) == before
    assert tables(backup)[1] == 1
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, backup.name]
    first = backup.stat().st_mtime_ns
    Journal(path).close()
    assert backup.stat().st_mtime_ns == first


def test_a_new_journal_has_no_backup(tmp_path):
    """There was nothing to keep."""
    Journal(tmp_path / "journal.sqlite3").close()
    assert [p.name for p in tmp_path.iterdir()] == ["journal.sqlite3"]


@pytest.mark.parametrize("done", range(5))
def test_a_death_in_between_leaves_it_to_be_done_again(path, done):
    """The file is of version 1 until all of it is done, and the next start does all of it."""
    before = content(path)
    assert ROLLBACKS_AND_STEPS.count(";") == 4
    words = f"""
import os, pathlib
from etl.journal.database import TABLES, ROLLBACKS_AND_STEPS
from etl.sqlite_file import SqliteFile
file = SqliteFile(pathlib.Path({str(path)!r}), "journal-damaged")
file.connection.create_function("die", 0, lambda: os._exit(9))
statements = ROLLBACKS_AND_STEPS.split(";")[:{done}]
file.check((TABLES, ";".join([*statements, "SELECT die()"])))
"""
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 9
    assert (tables(path)[1], content(path)) == (1, before)
    assert content(path.with_name("journal.sqlite3.v1-backup")) == before
    Journal(path).close()
    assert tables(path)[1] == VERSION


def test_tables_of_no_version_are_refused(path):
    """A journal of a build that gave the same version to other tables stops the start."""
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("ALTER TABLE batches DROP COLUMN finished_at")
    raw.close()
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "journal-damaged"


def test_a_backup_that_cannot_be_written_changes_nothing(path):
    """Without a backup there is no migration: `disk-error`, and the file is as it was."""
    before = content(path)
    path.with_name("journal.sqlite3.v1-backup").mkdir()
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "disk-error"
    assert (tables(path)[1], content(path)) == (1, before)


def test_a_backup_of_before_is_replaced(path):
    """What a death or an older upgrade left there is not taken for this file's copy."""
    backup = path.with_name("journal.sqlite3.v1-backup")
    backup.write_bytes(b"half")
    backup.with_name(f".{backup.name}.partial").write_bytes(b"half")
    before = content(path)
    Journal(path).close()
    assert content(backup) == before
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, backup.name]


def test_an_older_file_is_not_changed_by_a_reader(path):
    """Read only, it is refused with words on what brings it up to date, and stays as it is."""
    before = path.read_bytes()
    with pytest.raises(Mismatch) as caught:
        Journal(path, read_only=True)
    assert caught.value.code == "not-migrated"
    assert path.read_bytes() == before
    assert not path.with_name("journal.sqlite3.v1-backup").exists()


def test_a_damaged_older_file_is_left_alone(path):
    """Damage stops the start before anything is copied or changed."""
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 3 + 200] = os.urandom(200)
    path.write_bytes(raw)
    with pytest.raises(Mismatch) as caught:
        Journal(path)
    assert caught.value.code == "journal-damaged"
    assert path.read_bytes() == bytes(raw)
    assert not path.with_name("journal.sqlite3.v1-backup").exists()
