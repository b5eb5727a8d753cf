"""The installed process is killed at many places; after the next start everything is exact."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers.aftermath import (
    assert_one_archived,
    claims,
    handed_over,
    is_settled,
    remains,
    rows_of,
)
from tests.servers.service import MANDATOR, Setting, as_csv, people, person, setting
from tests.servers.strace import dying_at, slow

# 25 people in three chunks, less two who are suppressed from the start; one row breaks a rule.
DROP = as_csv([*people(25), person(99, email="no-address")])
ACCEPTED = [f"p{number}@example.org" for number in range(1, 26) if number not in {3, 4}]
LEAVES = "p7@example.org"
"""Unsubscribes while the service is dead."""
STAYED = [address for address in ACCEPTED if address != LEAVES]

COMMITS = (
    "check-begins", "has-case", "checked", "check-ends", "upload-begins", "upload-intended",
    "uploaded", "refill-begins", "id-rule-pinned", "clear-intended", "cleared",
    "chunk-1-intended", "chunk-1-answered", "chunk-2-intended", "chunk-2-answered",
    "chunk-3-intended", "chunk-3-answered", "purge-intended", "refilled", "refill-ends",
    "archived",
)  # fmt: skip
"""What the work's thread writes into the journal for this drop, in order.

Only from the sixth on: the scan's thread has five of its own, which would come first.
"""


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


def dies(made: Setting, calls: str, path: Path | None, nth: int) -> bool:
    """Run until the nth of these calls kills the process; False when it never came to that."""
    made.start(*dying_at(calls, path=path, nth=nth))
    assert made.child is not None
    until = time.monotonic() + 40
    while made.child.poll() is None and not is_settled(made):
        assert time.monotonic() < until, made.log.read_text()
        time.sleep(0.05)
    died = made.child.poll() in {-signal.SIGKILL, 128 + signal.SIGKILL}
    made.kill()
    return died


def places(made: Setting) -> list[str]:
    """Where the journal says that the batch is."""
    return [row[0] for row in rows_of(made, "SELECT place FROM batches")]


def goes_on(made: Setting, listed: list[str], uploaded: list[str] | None = None) -> None:
    """Somebody unsubscribes, the service starts again, and all is as if nothing had happened."""
    made.control.unsubscribe(mandator=MANDATOR, ids=[LEAVES])
    # A rename that was intended and has not happened is begun anew with who is left.
    uploaded_before = bool(
        rows_of(made, "SELECT 1 FROM batches WHERE upload_intent_at NOTNULL")
    ) and not any(name.endswith(".part") for name in made.remote())
    first_scan_only(made)
    starts = made.log.read_text().count('"started"')
    made.start()
    made.wait(lambda: made.log.read_text().count('"started"') > starts)
    made.wait(lambda: is_settled(made))
    made.wait(lambda: not remains(made))
    assert made.stop() == 0
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
    query = f"SELECT place FROM batches WHERE {sql}"  # noqa: S608 - conditions written here
    return lambda made: rows_of(made, query) == [(place,)]


def chunks_say(answered: int, intended: int) -> Callable[[Setting], bool]:
    """So many chunks were answered and intended, and so many had come to Campaign."""

    def there(made: Setting) -> bool:
        found = rows_of(made, "SELECT ack_at NOTNULL FROM calls ORDER BY number")
        expected = [(1,)] * answered + [(0,)] * (intended - answered)
        return found == expected and len(made.calls("addAll3")) == answered

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
    "in-the-private-copy": Death("fchmod", None, 4, copies),
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
    "purge-intended": commit("purge-intended", lambda made: (
        journal_says("REFILLING")(made) and not made.calls("removeUnsubscribed")
        and len(made.list_ids()) == 23 and len(made.calls("getCount")) == 1
    )),
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


SHIFTS = (0, 1, -1, 2, -2, 3, -3)
"""Commits that have come or gone since COMMITS was written down."""


@contextlib.contextmanager
def dead(root: Path, death: Death) -> Iterator[Setting]:
    """A setting whose process died exactly where it should; tried near by if it did not.

    Only the place that the journal and the far sides show counts, never the number of a call.
    """
    for shift in SHIFTS if death.calls == "fdatasync" else (0,):
        folder = root / f"shift{shift}"
        folder.mkdir()
        with setting(folder) as made:
            furnish(made)
            made.drop("a.csv", DROP)
            path = None if death.path is None else folder / death.path
            if dies(made, death.calls, path, death.nth + shift) and death.there(made):
                yield made
                return
    raise AssertionError("the process died nowhere near where it should")


@pytest.mark.parametrize("where", DEATHS)
def test_death_by_system_call(tmp_path: Path, where: str) -> None:
    """A process killed at this system call leaves nothing that the next start does not mend."""
    death = DEATHS[where]
    with dead(tmp_path, death) as made:
        goes_on(made, ACCEPTED if death.proved else STAYED)


@dataclass(frozen=True, slots=True)
class Held:
    """A call at which the simulator stops, so that the process dies while it waits."""

    method: str
    nth: int
    before: bool
    there: Callable[[Setting], Any]


HELD = {
    "check-asks": Held("containsAll", 1, False, journal_says("CLAIMED")),
    "clear-unanswered": Held("clear", 1, False, lambda made: (
        journal_says("REFILLING")(made) and not made.list_ids()
    )),
    "chunk-unanswered": Held("addAll3", 2, False, lambda made: len(made.list_ids()) == 20),
    "last-chunk-unanswered": Held("addAll3", 3, False, lambda made: len(made.list_ids()) == 23),
    "purge-unanswered": Held("removeUnsubscribed", 1, False, journal_says("REFILLING")),
    "half-purged": Held("removeBlacklisted", 1, False, journal_says("REFILLING")),
    "proof-unanswered": Held("getCount", 2, False, journal_says("REFILLING")),
}  # fmt: skip


@pytest.mark.parametrize("where", HELD)
def test_death_while_campaign_answers(tmp_path: Path, where: str) -> None:
    """A process killed between a call's effect and its answer is made good by the next one."""
    held = HELD[where]
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        rule = made.control.hold(held.method, nth=held.nth, before=held.before)
        made.start()
        assert made.control.wait_held(rule)
        made.kill()
        assert held.there(made), "the kill was not where it should be"
        made.control.release(rule)
        goes_on(made, STAYED)


def test_call_of_the_dead_arrives_late(tmp_path: Path) -> None:
    """A chunk that a dead process had on its way and that arrives after all doubles nobody."""
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        rule = made.control.hold("addAll3", nth=2, before=True)
        made.start()
        assert made.control.wait_held(rule)
        made.kill()
        assert len(made.list_ids()) == 10
        # The next process stops before its last count; only then the old call is let through.
        proof = made.control.hold("removeBlacklisted", before=True)
        first_scan_only(made)
        made.start()
        assert made.control.wait_held(proof)
        calls = len(made.calls("addAll3"))
        made.control.release(rule)
        made.wait(lambda: len(made.calls("addAll3")) > calls)
        made.control.release(proof)
        made.wait(lambda: is_settled(made))
        made.wait(lambda: not remains(made))
        assert made.stop() == 0
        assert_one_archived(made, DROP, ACCEPTED, ACCEPTED)
        assert len(made.calls("clear")) == 1


def test_death_at_the_uploads_rename(tmp_path: Path) -> None:
    """An upload whose rename was not sent begins anew, without who said no meanwhile."""
    with dead(tmp_path, commit("upload-intended", upload_is_intended)) as made:
        temporary = next(iter(made.remote().values()))
        assert LEAVES.encode() in temporary
        goes_on(made, STAYED)
        (visible,) = made.remote().values()
        assert LEAVES.encode() not in visible


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into the server's processes")
def test_death_before_the_renames_answer(tmp_path: Path) -> None:
    """A rename that was done but whose answer nobody heard is not done again."""
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        pid = made.sshd.pid
        with slow(pid, "rename,renameat,renameat2", 20, tmp_path / "slow"):
            made.start()
            made.wait(lambda: any(name.endswith(".csv") for name in made.remote()))
            made.kill()
            assert journal_says("CLAIMED", "upload_intent_at NOTNULL")(made)
        goes_on(made, STAYED)


def test_three_deaths_in_the_check(tmp_path: Path) -> None:
    """A drop in whose check the process died three times is quarantined and told of."""
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        for _ in range(3):
            rule = made.control.hold("containsAll")
            made.start()
            assert made.control.wait_held(rule)
            made.kill()
            made.control.release(rule)
        made.start()
        receipt = made.wait_for("a.csv", "quarantined", "archived")
        assert receipt["fate"] == "quarantined"
        assert receipt["reason"]["code"] == "crashed-checking"
        assert made.calls("clear") == []
        assert len(made.list_ids()) == 30
        made.wait(lambda: not claims(made))
        assert made.stop() == 0


def test_stop_in_the_check_is_no_death(tmp_path: Path) -> None:
    """SIGTERM during the check counts as no death of the process: the drop goes through later."""
    with setting(tmp_path) as made:
        furnish(made)
        made.drop("a.csv", DROP)
        for _ in range(4):
            rule = made.control.hold("containsAll")
            made.start()
            assert made.control.wait_held(rule)
            assert made.child is not None
            made.child.terminate()
            made.control.release(rule)
            assert made.child.wait(30) == 0
        first_scan_only(made)
        made.start()
        assert made.wait_for("a.csv", "archived", "quarantined")["fate"] == "archived"
        assert made.stop() == 0


def test_death_after_the_claim_is_gone(tmp_path: Path) -> None:
    """A process killed right after it took the claimed file away leaves no copy of ours behind."""
    with dead(tmp_path, DEATHS["claim-journalled"]) as made:
        assert dies(made, "fsync", made.inbox / ".claimed" / "etl", 1)
        assert has_receipt(made)
        assert not claims(made), "the kill was not where it should be"
        goes_on(made, ACCEPTED)
