"""The installed daemon dies while a far side answers; after the next start everything is exact."""

import os
from collections.abc import Callable
from dataclasses import dataclass
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
from tests.servers.strace import slow

# 25 people in three chunks, less two who are suppressed from the start; one row breaks a rule.
DROP = as_csv([*people(25), person(99, email="no-address")])
ACCEPTED = [f"p{number}@example.org" for number in range(1, 26) if number not in {3, 4}]
LEAVES = "p7@example.org"
"""Unsubscribes while the service is dead."""
STAYED = [address for address in ACCEPTED if address != LEAVES]


def furnish(made: Setting) -> None:
    """Yesterday's people in the list, two suppressed ones, and the drop in the inbox."""
    old = [{"id": f"old{n}@example.org", "address": f"old{n}@example.org"} for n in range(30)]
    made.control.put_recipients(list_id=100, recipients=[o | {"attributes": {}} for o in old])
    made.control.unsubscribe(mandator=MANDATOR, ids=["p3@example.org"])
    made.control.block(mandator=MANDATOR, entries=["p4*@example.org"])


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


def journal_says(place: str, sql: str = "1") -> Callable[[Setting], bool]:
    """The batch is at a place, and a condition on its row holds."""
    query = f"SELECT place FROM batches WHERE {sql}"  # noqa: S608 - conditions written here
    return lambda made: rows_of(made, query) == [(place,)]


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
        made.start()
        assert made.wait_for("a.csv", "archived", "quarantined")["fate"] == "archived"
        assert made.stop() == 0
