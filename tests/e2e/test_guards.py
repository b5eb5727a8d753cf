"""No list is cleared for a drop that must not refill it; witness is the simulator's call log."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.seen import add_client, add_line, clears, every_receipt_is_sound, status
from tests.servers.service import Setting, as_csv, people, person, setting

GOOD, EMPTY, HEADER_ONLY, SHRUNK, GROWN, OUTDATED, WRONG_NAME, TEST_LIST, NO_ATTRIBUTE, FIRST, \
    MIXED, MEDIUM, REJECTED, FEW, OTHER_CONSENT, STALE, BLOCKLIST, MISSING = range(18)  # fmt: skip
STALE_CLIENT, BLOCKLIST_CLIENT, MISSING_CLIENT = 5151, 5252, 5353
MAX_AGE_HOURS = 0.004


def drop_name(feed: int, day: str = "") -> str:
    """A file name of a feed."""
    return f"{chr(ord('a') + feed)}{day}.csv"


def list_of(feed: int) -> int:
    """The id of a feed's list."""
    return 100 + feed + (100 if feed >= STALE else 0)


def make_feeds(made: Setting) -> None:
    """Feeds and far sides of which each but the first has one thing wrong, or will have."""
    control = made.control
    control.set_list(list_id=list_of(WRONG_NAME), name="Another list")
    control.set_list(list_id=list_of(TEST_LIST), is_test=True)
    control.set_list(list_id=list_of(NO_ATTRIBUTE), attributes={"firstname": "STRING"})
    no_minimum = {"guards": "{believe_count_after_seconds = 0.5}"}
    made.extra = {
        made.feed(FIRST): no_minimum,
        made.feed(FEW): {"guards": "{min_rows = 10}"},
        made.feed(REJECTED): {"guards": "{min_rows = 1, rejected_floor = 2}"},
    }
    for feed, mandator, client in (
        (STALE, STALE_CLIENT, "stale"),
        (BLOCKLIST, BLOCKLIST_CLIENT, "blocklist"),
        (MISSING, MISSING_CLIENT, "missing"),
    ):
        add_client(made, client, mandator, [list_of(feed)])
        table = f'{{id = {list_of(feed)}, name = "List {list_of(feed)}"}}'
        made.extra[made.feed(feed)] = {"client": f'"{client}"', "list": table}
    control.block(mandator=BLOCKLIST_CLIENT, entries=[f"q{n}@example.org" for n in range(10)])
    control.schedule("getOutBounces", "fault", times=None, mandator=MISSING_CLIENT)
    made.write_config()
    add_line(made, "[suppression]", f"max_age_hours = {MAX_AGE_HOURS}")


def completed(made: Setting) -> dict[str, datetime]:
    """When the last complete fetch of each client began."""
    done = made.etl("responses", "status", "--json")
    clients = json.loads(done.stdout)["clients"]
    return {
        one["client"]: datetime.fromisoformat(one["completed_at"])
        for one in clients
        if one["completed_at"]
    }


def drop_what_is_wrong(made: Setting) -> dict[int, str]:
    """One drop per feed that must not be cleared for; the drops' names by feed."""
    other = [person(n, **{"opt-in-id": "consent-2"}) for n in range(1, 6)]
    content: dict[int, bytes | list[dict[str, str]]] = {
        EMPTY: b"",
        HEADER_ONLY: as_csv([]),
        SHRUNK: people(15),
        GROWN: people(11),
        OUTDATED: people(5),
        WRONG_NAME: people(5),
        TEST_LIST: people(5),
        NO_ATTRIBUTE: people(5),
        FIRST: people(5),
        MIXED: [*people(4), *other[4:]],
        MEDIUM: [person(n, **{"media-type": "SMS"}) for n in range(1, 6)],
        REJECTED: [*people(5), *(person(n, email="no-address") for n in range(6, 10))],
        FEW: people(5),
        OTHER_CONSENT: other,
        STALE: people(5),
        BLOCKLIST: people(5),
        MISSING: people(5),
    }
    days = {SHRUNK: "_20300102", GROWN: "_20300102", OUTDATED: "_20291231"}
    names = {feed: drop_name(feed, days.get(feed, "")) for feed in content}
    for feed, rows in content.items():
        made.drop(names[feed], rows)
    return names


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_clear_for_a_drop_that_must_not(tmp_path: Path):
    """Seventeen wrong drops beside a good one: only the good one's list is cleared by them.

    What an operator releases and what the world mends goes on then, and nothing else does.
    """
    with setting(tmp_path, feeds=18) as made:
        make_feeds(made)
        made.start()
        before = {SHRUNK: 20, GROWN: 5, OUTDATED: 5}
        for feed, rows in before.items():
            made.drop(drop_name(feed, "_20300101"), people(rows))
        for feed in before:
            made.wait_for(drop_name(feed, "_20300101"), "archived")
        began = completed(made)
        assert began.keys() == {"main", "stale", "blocklist"}
        rule = made.control.schedule(
            "getUnsubscribes", "fault", times=None, mandator=STALE_CLIENT, text="out of order"
        )
        too_old = began["stale"] + timedelta(hours=MAX_AGE_HOURS)
        made.wait(lambda: datetime.now(UTC) > too_old)
        entries = [f"q{n}@example.org" for n in range(9)]
        made.control.unblock(mandator=BLOCKLIST_CLIENT, entries=entries)

        names = drop_what_is_wrong(made)
        made.drop(drop_name(GOOD), people(5))
        ends = {
            feed: made.wait_for(name, "held", "quarantined", "archived")
            for feed, name in names.items()
        }
        made.wait_for(drop_name(GOOD), "archived")
        assert {feed: (end["fate"], end["reason"] and end["reason"]["code"])
                for feed, end in ends.items()} == {
            EMPTY: ("quarantined", "empty-file"),
            HEADER_ONLY: ("quarantined", "no-rows"),
            SHRUNK: ("held", "shrunk"),
            GROWN: ("held", "grown"),
            OUTDATED: ("held", "outdated"),
            WRONG_NAME: ("held", "wrong-list"),
            TEST_LIST: ("held", "test-list"),
            NO_ATTRIBUTE: ("held", "missing-attribute"),
            FIRST: ("held", "first-refill"),
            MIXED: ("quarantined", "mixed-consents"),
            MEDIUM: ("quarantined", "wrong-consent"),
            REJECTED: ("quarantined", "too-many-rejected"),
            FEW: ("held", "min-rows"),
            OTHER_CONSENT: ("quarantined", "wrong-consent"),
            STALE: ("held", "suppression-stale"),
            BLOCKLIST: ("held", "suppression-shrunk"),
            MISSING: ("held", "suppression-missing"),
        }  # fmt: skip

        # World guards are asked once more after the good one went, and still say no.
        for feed in (WRONG_NAME, TEST_LIST, NO_ATTRIBUTE, STALE, BLOCKLIST, MISSING):
            held_again(made, ends[feed])
        once = {list_of(feed): 1 for feed in (GOOD, SHRUNK, GROWN, OUTDATED)}
        assert clears(made) == once
        assert made.list_ids(SHRUNK) == [f"p{n}@example.org" for n in range(1, 21)]
        # What was not held for its list alone was not uploaded either.
        uploaded = {name.split("-")[0] for name in made.remote()}
        lists = {WRONG_NAME, TEST_LIST, NO_ATTRIBUTE}
        assert uploaded == {made.feed(f) for f in (GOOD, SHRUNK, GROWN, OUTDATED, *lists)}
        assert len(made.remote()) == 7
        for feed in lists:
            assert ends[feed]["place"] == "UPLOADED"
            assert {note["code"] for note in ends[feed]["notes"]} == {"list-unchanged"}

        # Guards of rows are released by an operator, each for its own code only.
        wrong = made.etl("release", ends[SHRUNK]["batch"], "--allow", "grown", "--why", "no use")
        assert (wrong.returncode, "--allow shrunk" in wrong.stderr) == (2, True)
        for feed in (SHRUNK, GROWN, OUTDATED, FIRST, FEW):
            code = ends[feed]["reason"]["code"]
            done = made.etl("release", ends[feed]["batch"], "--allow", code, "--why", "it is right")
            assert done.returncode == 0, done.stderr
        for feed in (SHRUNK, GROWN, OUTDATED, FIRST, FEW):
            made.wait_for(names[feed], "archived")
        counts = {SHRUNK: 15, GROWN: 11, OUTDATED: 5, FIRST: 5, FEW: 5}
        assert {feed: len(made.list_ids(feed)) for feed in counts} == counts

        # Guards of the world let go by themselves.
        made.control.set_list(list_id=list_of(WRONG_NAME), name=f"List {WRONG_NAME}")
        made.control.set_list(list_id=list_of(TEST_LIST), is_test=False)
        made.control.set_list(
            list_id=list_of(NO_ATTRIBUTE),
            attributes={"firstname": "STRING", "lastname": "STRING", "entity-id": "STRING"},
        )
        made.control.unschedule(rule)
        made.control.block(mandator=BLOCKLIST_CLIENT, entries=entries)
        world = (WRONG_NAME, TEST_LIST, NO_ATTRIBUTE, STALE, BLOCKLIST)
        for feed in world:
            made.wait_for(names[feed], "archived")
        twice = {list_of(feed): 2 for feed in (SHRUNK, GROWN, OUTDATED)}
        later = {list_of(feed): 1 for feed in (*world, FIRST, FEW)}
        assert clears(made) == once | twice | later
        assert every_receipt_is_sound(made)
        assert [one["feed"] for one in status(made)["under_way"]] == [made.feed(MISSING)]
        assert made.stop() == 0


def held_again(made: Setting, receipt: dict[str, Any]) -> dict[str, Any]:
    """Wait until a held batch was tried and held once more; its receipt."""

    def found() -> dict[str, Any] | None:
        newer = made.receipt(receipt["drop"]["name"])
        return newer if newer and newer["written_at"] > receipt["written_at"] else None

    newer: dict[str, Any] = made.wait(found)
    assert (newer["batch"], newer["fate"]) == (receipt["batch"], "held")
    assert newer["reason"]["code"] == receipt["reason"]["code"]
    return newer


def test_two_feeds_on_one_list(tmp_path: Path):
    """The start is refused with 78 before anybody is called, and the drop stays in the inbox."""
    with setting(tmp_path, feeds=2) as made:
        made.extra["b"] = {"list": '{id = 100, name = "List 0"}'}
        made.write_config()
        made.drop("a.csv", people(5))
        for verb in ("run", "once", "check"):
            done = made.etl(verb)
            assert done.returncode == 78
            assert "list 100 of client 4242 belongs to a, b" in done.stderr
        assert made.calls() == []
        assert (made.inbox / "a.csv").exists()
        assert not made.state.exists()


def test_release_needs_a_guard_of_rows(tmp_path: Path):
    """World guards cannot be released, and no allowance outlives its batch."""
    with setting(tmp_path) as made:
        made.extra["a"] = {"guards": "{max_shrink = 0.2}"}
        made.write_config()
        made.start()
        made.drop("a_20300101.csv", people(5))
        held = made.wait_for("a_20300101.csv", "held")
        assert held["reason"]["code"] == "first-refill"
        refused = release(made, held, "suppression-stale")
        assert refused.returncode == 2
        assert "cannot be released" in refused.stderr
        assert release(made, held, "first-refill").returncode == 0
        made.wait_for("a_20300101.csv", "archived")
        made.drop("a_20300102.csv", people(3))
        held = made.wait_for("a_20300102.csv", "held")
        assert held["reason"]["code"] == "shrunk"
        assert release(made, held, "shrunk").returncode == 0
        made.wait_for("a_20300102.csv", "archived")
        made.drop("a_20300103.csv", people(1))
        assert made.wait_for("a_20300103.csv", "held", "archived")["reason"]["code"] == "shrunk"
        assert clears(made) == {100: 2}


def release(made: Setting, receipt: dict[str, Any], code: str) -> subprocess.CompletedProcess[str]:
    """Ask for the release of a batch."""
    return made.etl("release", receipt["batch"], "--allow", code, "--why", "looked at it")
