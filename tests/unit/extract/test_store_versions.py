"""A store of an earlier release is copied beside and brought up to date; nobody is lost by it."""

import hashlib
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etl.errors import Mismatch
from etl.extract import entries
from etl.extract.keyed import StoreKey
from etl.extract.learned import Event
from etl.extract.store_file import STEPS
from etl.extract.suppressions import open_store
from etl.ports import Stream, Window
from etl.sqlite_file import SqliteFile

AT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
KEY = StoreKey("k", b"a key for tests.")
RELEASED = {0: "6efcc18c90ec7db0"}
"""Beginning of the sha256 of every step that was released."""


@pytest.mark.parametrize("number", RELEASED)
def test_a_released_step_is_never_changed(number: int) -> None:
    """Files of its version are in the world."""
    assert hashlib.sha256(STEPS[number].encode()).hexdigest().startswith(RELEASED[number])


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A store of version 1 with somebody suppressed, seen, carried and owed to the CRM."""
    path = tmp_path / "suppressions.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as made:
        made.executescript(STEPS[0])
        made.execute("INSERT INTO keys VALUES ('k', ?)", (KEY.check_value,))
        made.execute(
            "INSERT INTO origins"
            " VALUES (1, 'main', 'unsubscribed', 'getUnsubscribes', 'address', 'k')"
        )
        made.execute("INSERT INTO entries VALUES (1, ?, 1, NULL)", (KEY.tag("a@example.org"),))
        made.execute("INSERT INTO carrier_feeds VALUES (1, 'main', 'f', 'k', 'b')")
        made.execute(
            "INSERT INTO carriers VALUES (1, ?, 'contact', '1', '7', ?)",
            (KEY.tag("b@example.org"), int(AT.timestamp())),
        )
        made.execute("INSERT INTO cursors VALUES ('main', 'getOutBounces', 5000)")
        made.execute("INSERT INTO seen VALUES ('main', 'getOutBounces', ?, 5000)", (b"seen",))
        made.execute(
            "INSERT INTO outbox"
            " VALUES (1, 'main', 'unsubscriptions', 'a@example.org', '', '', '', '', 'EMAIL',"
            " 'unsubscribed', 'getUnsubscribes', '', '', '2026-11-23')"
        )
        made.execute("PRAGMA user_version=1")
    return path


def test_an_earlier_store_goes_on(earlier: Path) -> None:
    """Whoever was suppressed still is, what was seen is not told again, what was owed is there."""
    with closing(open_store(earlier, [KEY])) as store:
        assert store.entries("main")["key"].to_list() == [KEY.tag("a@example.org").hex()]
        assert store.outbox.waiting("main", "unsubscriptions") == 1
        events = [Event("x@example.org", None, "", b"seen"), Event("b@example.org", None, "", b"2")]
        window = Window(4000, 6000)
        new = store.commit_window(
            "main", Stream.OUT_BOUNCES, window, events, id_rule="email", at=AT
        )
        assert (new, store.outbox.waiting("main", "bounces")) == (1, 1)
    backup = earlier.with_name(f"{earlier.name}.v1-backup")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with closing(sqlite3.connect(backup)) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    assert b"a@example.org" not in backup.read_bytes(), "nobody in the clear"


def test_a_reader_changes_nothing(earlier: Path) -> None:
    """A command that only looks says that a start has to bring it up to date."""
    before = earlier.read_bytes()
    with pytest.raises(Mismatch) as refused:
        open_store(earlier, [KEY], read_only=True)
    assert refused.value.code == "not-migrated"
    assert earlier.read_bytes() == before


def test_a_newer_store_is_refused(earlier: Path) -> None:
    """What a later release wrote is not read by guesses."""
    with closing(sqlite3.connect(earlier)) as made:
        made.execute(f"PRAGMA user_version={len(STEPS) + 1}")
    with pytest.raises(Mismatch) as refused:
        open_store(earlier, [KEY])
    assert refused.value.code == "store-damaged"


def test_a_large_file_is_not_walked_through_and_its_damage_shows_when_it_is_read(
    earlier: Path,
) -> None:
    """The start is quick; the first question that meets the damage is refused with a reason."""
    with closing(open_store(earlier, [KEY])) as store:
        events = [Event(f"{n}@example.org", None, "", b"%d" % n) for n in range(5000)]
        store.commit_window(
            "main", Stream.OUT_BOUNCES, Window(0, 1), events, id_rule="email", at=AT
        )
    size = earlier.stat().st_size
    with earlier.open("r+b") as file:
        for place in range(size // 8192 * 4096, size, 4096):
            file.seek(place)
            file.write(b"\xff" * 64)
    walked = SqliteFile(earlier, "store-damaged")
    with closing(walked), pytest.raises(Mismatch) as refused:
        walked.check(STEPS, size)
    assert refused.value.code == "store-damaged"
    opened = SqliteFile(earlier, "store-damaged")
    with closing(opened):
        opened.check(STEPS, size - 1)
        with pytest.raises(Mismatch) as met, opened.read() as connection:
            entries.among(connection, "main", [KEY.tag(f"{n}@example.org") for n in range(5000)])
        assert met.value.code == "store-damaged"
