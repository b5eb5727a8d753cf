"""The journal is locked, damaged, cut off, newer or gone: nothing is done in its place."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.two_feeds import LEAVES, Servers, TwoFeeds
from tests.servers.service import as_csv, people

NEXT_DAY = as_csv(people(24, first=2))


def garble(path: Path, offset: int, size: int) -> None:
    """Other bytes than were written."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(size))


def make_newer(path: Path) -> None:
    """A release to come was here."""
    with closing(sqlite3.connect(path)) as journal:
        journal.execute("PRAGMA user_version=99")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "header": lambda path: garble(path, 0, 100),
    "every-page": lambda path: garble(path, 4096, path.stat().st_size - 4096),
    "cut-in-half": lambda path: os.truncate(path, path.stat().st_size // 2 // 4096 * 4096),
    "cut-in-a-page": lambda path: os.truncate(path, 4096 + 1000),
    "of-no-length": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "text": lambda path: path.write_text("restored by hand\n"),
    "newer": make_newer,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_journal_stops_the_start(servers: Servers, damage: str) -> None:
    """Refused with words on how to recover; nobody is called; restored, the drop runs."""
    with TwoFeeds(servers) as run:
        run.comes_to_rest()
        made = run.made
        backup = run.outside / "backup"
        shutil.copytree(made.state, backup)
        journal = made.state / "journal.sqlite3"
        for beside in ("journal.sqlite3-wal", "journal.sqlite3-shm"):
            (made.state / beside).unlink(missing_ok=True)
        DAMAGE[damage](journal)
        made.drop("a_20261125.csv", NEXT_DAY)
        before, calls = made.list_ids(0), len(made.control.calls())
        made.log.unlink()
        assert run.life() not in (0, 69, 70, 75)
        words = made.log.read_text()
        assert "journal-damaged" in words
        assert "restore the state folder as a whole from one backup" in words
        assert "Traceback" not in words
        assert (made.list_ids(0), len(made.control.calls())) == (before, calls)
        assert (made.inbox / "a_20261125.csv").read_bytes() == NEXT_DAY

        shutil.rmtree(made.state)
        backup.rename(made.state)
        assert run.life() == 0
        no = {"p3@example.org", "p4@example.org"}
        assert made.list_ids(0) == [
            each["email"] for each in people(24, first=2) if each["email"] not in no
        ]


@pytest.mark.parametrize("at", ["clear", "addAll3", "getCount"])
def test_somebody_locks_the_journal_for_a_while(servers: Servers, at: str) -> None:
    """A journal that another process writes to is waited for; the answer is not lost."""
    with TwoFeeds(servers) as run:
        made = run.made
        rule = made.control.hold(at, mandator=made.mandator)
        child = run.born()
        assert made.control.wait_held(rule)
        path = made.state / "journal.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made.control.release(rule)
            time.sleep(0.7)
            assert child.poll() is None
            other.execute("ROLLBACK")
        assert child.wait() == 1  # a row was rejected
        run.must_be_true()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_somebody_never_lets_go_of_the_journal(servers: Servers) -> None:
    """The life ends in time without the answer in the journal; the next one asks the list."""
    with TwoFeeds(servers) as run:
        made = run.made
        rule = made.control.hold("addAll3", mandator=made.mandator)
        child = run.born()
        assert made.control.wait_held(rule)
        path = made.state / "journal.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made.control.release(rule)
            assert child.wait(280) in (1, 69)
            other.execute("ROLLBACK")
        assert '"event": "bug"' not in made.log.read_text()
        run.somebody_leaves()
        assert LEAVES in made.list_ids(0)
        run.comes_to_rest()
        run.must_be_true(deaths=1)
