"""The installed process is killed at many places; after the next start everything is exact."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers.aftermath import assert_one_archived, claims, handed_over, is_settled, rows_of
from tests.servers.service import MANDATOR, Setting, as_csv, people, person, setting
from tests.servers.strace import dying_at, slow

# 25 people in three chunks, less two who are suppressed from the start; one row breaks a rule.
DROP = as_csv([*people(25), person(99, email="no-address")])
ACCEPTED = [f"p{number}@example.org" for number in range(1, 26) if number not in {3, 4}]
LEAVES = "p7@example.org"
"""Unsubscribes while the service is dead."""
STAYED = [address for address in ACCEPTED if address != LEAVES]

COMMITS = (
    "check-begins", "has-case", "checked", "check-ends", "upload-intended", "uploaded",
    "clear-intended", "cleared", "chunk-1-intended", "chunk-1-answered", "chunk-2-intended",
    "chunk-2-answered", "chunk-3-intended", "chunk-3-answered", "refilled", "archived",
)  # fmt: skip
"""What the work's thread writes into the journal for this drop, in order."""


def furnish(made: Setting) -> None:
    """Yesterday's people in the list, two suppressed ones, and the drop in the inbox."""
    old = [{"id": f"old{n}@example.org", "address": f"old{n}@example.org"} for n in range(30)]
    made.control.put_recipients(list_id=100, recipients=[o | {"attributes": {}} for o in old])
    made.control.unsubscribe(mandator=MANDATOR, ids=["p3@example.org"])
    made.control.block(mandator=MANDATOR, entries=["p4*@example.org"])
    # One look settles a drop and no second one follows, so the calls of each thread are countable.
    made.tables = ""
    made.scan = 'every_seconds = 60\nsightings = 1\nwatch = "off"'
    made.write_config()


def first_scan_only(made: Setting) -> None:
    """Back to the usual scan for the start after the death."""
    made.scan = "every_seconds = 0.1\nsightings = 2"
    made.write_config()


def died(made: Setting, seconds: float = 40) -> None:
    """Wait until the process is dead of SIGKILL."""
    assert made.child is not None
    assert made.child.wait(seconds) in {-signal.SIGKILL, 128 + signal.SIGKILL}, made.log.read_text()
    made.child = None


def places(made: Setting) -> list[str]:
    """Where the journal says that the batch is."""
    return [row[0] for row in rows_of(made, "SELECT place FROM batches")]


def goes_on(made: Setting, listed: list[str], uploaded: list[str] | None = None) -> None:
    """Somebody unsubscribes, the service starts again, and all is as if nothing had happened."""
    made.control.unsubscribe(mandator=MANDATOR, ids=[LEAVES])
    uploaded_before = bool(rows_of(made, "SELECT 1 FROM batches WHERE upload_intent_at NOTNULL"))
    first_scan_only(made)
    made.start()
    made.wait(lambda: is_settled(made))
    made.wait(lambda: not list((made.state / "batches").rglob("accepted.csv")))
    expected = ACCEPTED if uploaded_before else STAYED
    assert_one_archived(made, DROP, listed, uploaded or expected)
    cases = list(made.quarantine.iterdir())
    assert len(cases) == 1
    assert sorted(path.name for path in cases[0].iterdir()) == [
        "rejected.csv", "report.html", "report.json",
    ]  # fmt: skip
    wanted = {"p3@example.org"} | ({LEAVES} if listed == STAYED and not uploaded_before else set())
    found = handed_over(made)
    assert len(found) == len(set(found))
    assert wanted <= set(found)
    assert made.stop() == 0


@dataclass(frozen=True, slots=True)
class Death:
    """Where to die by system call, and what proves that it was there."""

    calls: str
    path: str | None
    nth: int
    there: Callable[[Setting], Any]
    proved: bool = False
    """Whether the list was proved before, so that who leaves afterwards is in it until the next."""


def commit(name: str, there: Callable[[Setting], Any], *, proved: bool = False) -> Death:
    """Die when a commit of the work's thread is written but nothing after it has begun."""
    return Death(
        "fdatasync", "state/journal.sqlite3-wal", COMMITS.index(name) + 1, there, proved
    )  # fmt: skip


def journal_says(place: str, sql: str = "1") -> Callable[[Setting], bool]:
    """The batch is at a place, and a condition on its row holds."""
    return lambda made: rows_of(made, f"SELECT place FROM batches WHERE {sql}") == [(place,)]


def chunks_say(answered: int, intended: int) -> Callable[[Setting], bool]:
    """So many chunks were answered and intended, and so many had come to Campaign."""

    def there(made: Setting) -> bool:
        found = rows_of(made, "SELECT ack_at NOTNULL FROM calls ORDER BY number")
        assert len(made.calls("addAll3")) == answered
        return found == [(1,)] * answered + [(0,)] * (intended - answered)

    return there


def nothing_moved(made: Setting) -> bool:
    return [p.name for p in made.inbox.iterdir() if p.is_file()] == ["a.csv"]


def is_claimed(made: Setting) -> bool:
    return not places(made) and [p.name for p in claims(made) if p.is_file()] == ["a.csv"]


def copies(made: Setting) -> bool:
    found = [path.name for path in (made.state / "batches").rglob("*") if path.is_file()]
    return is_claimed(made) and found == [".original.partial"]


def upload_is_intended(made: Setting) -> bool:
    sql = "upload_intent_at NOTNULL AND uploaded_at IS NULL"
    return journal_says("CLAIMED", sql)(made) and [n[-5:] for n in made.remote()] == [".part"]


def has_receipt(made: Setting) -> bool:
    return bool(made.receipts()) and places(made) == ["ARCHIVED"]


def archived_files(made: Setting) -> list[Path]:
    return [path for path in (made.state / "archive").rglob("*") if path.is_file()]


MONTH = f"state/archive/{datetime.now(UTC):%Y-%m}"

DEATHS = {
    "at-the-claims-rename": Death("rename", "inbox/a.csv", 1, nothing_moved),
    "claimed-not-copied": Death("fsync", "inbox", 2, is_claimed),
    "in-the-private-copy": Death("fchmod", None, 2, copies),
    "claim-journalled": Death(
        "fdatasync", "state/journal.sqlite3-wal", 4, journal_says("CLAIMED")
    ),
    "uploaded": commit("uploaded", journal_says("UPLOADED")),
    "clear-intended": commit("clear-intended", lambda made: (
        journal_says("REFILLING")(made) and not made.calls("clear")
    )),
    "cleared": commit("cleared", lambda made: (
        journal_says("REFILLING")(made) and not made.list_ids()
    )),
    "chunk-intended": commit("chunk-2-intended", chunks_say(1, 2)),
    "chunk-answered": commit("chunk-2-answered", chunks_say(2, 2)),
    "refilled": commit("refilled", journal_says("REFILLED"), proved=True),
    "end-journalled": Death("mkdir", MONTH, 1, lambda made: (
        journal_says("ARCHIVED")(made) and not made.receipts() and not archived_files(made)
    ), proved=True),
    "archived-without-receipt": Death("fsync", MONTH, 1, lambda made: (
        archived_files(made) and not made.receipts()
    ), proved=True),
    "receipt-with-claim": Death("fsync", "receipts", 1, lambda made: (
        has_receipt(made) and any(path.is_file() for path in claims(made))
    ), proved=True),
    "claim-half-gone": Death("rmdir", None, 1, lambda made: (
        has_receipt(made) and not any(path.is_file() for path in claims(made)) and claims(made)
    ), proved=True),
}  # fmt: skip


@pytest.mark.parametrize("where", DEATHS)
def test_death_by_system_call(tmp_path: Path, where: str) -> None:
    """A process killed at this system call leaves nothing that the next start does not mend."""
    death = DEATHS[where]
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        path = None if death.path is None else tmp_path / death.path
        made.start(*dying_at(death.calls, path=path, nth=death.nth))
        died(made)
        assert death.there(made), "the kill was not where it should be"
        goes_on(made, ACCEPTED if death.proved else STAYED)
