"""Plans over twins: counts, guards, and that nothing whatever is touched."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from etl.config import build
from etl.errors import Mismatch
from etl.extract.keyed import StoreKey
from etl.extract.suppressions import open_store
from etl.forecast import Memory, forecast
from etl.journal import Journal
from etl.show import against_rollback
from tests.servers.service import COLUMNS, as_csv, people, person
from tests.twins.house import SECRET, House
from tests.unit.test_rollback import DOWN, MEMORY


@pytest.fixture
def house():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = House(Path(name))
        yield made
        made.close()


@pytest.fixture
def refilled(house):
    """A house with two refills: 10 people, then 9 of them with one unsubscribed, one renamed."""
    house.lists.unsubscribed.add("p2@example.org")
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", [person(1, firstname="Other"), *people(8, first=2)])
    house.run()
    return house


def plan(house, rows=None, name="a_3.csv", now=None):
    """The answer of `etl refill plan`, with a file of these rows or without one."""
    config = build(house.config_table(), {})
    state = house.root / "state"
    file = None
    if rows is not None:
        folder = house.root / "elsewhere"
        folder.mkdir(exist_ok=True)
        file = folder / name
        file.write_bytes(rows if isinstance(rows, bytes) else as_csv(rows, COLUMNS))
    journal = Journal(state / "journal.sqlite3", read_only=True)
    key = StoreKey("k", SECRET.encode())
    store = open_store(state / "store.sqlite3", [key], read_only=True)
    try:
        memory = Memory(config, journal, store, now or house.clock.wall())
        found = forecast(memory, config.find_feed("a"), file)
    finally:
        journal.close()
        store.close()
    assert not any("@" in text for text in json.dumps(found).split())
    return found


def codes(found):
    return [each["code"] for each in found["guards"]]


def counted(found):
    names = ("listed_now", "to_send", "joiners", "leavers", "changed", "unchanged")
    return {name: found[name] for name in names}


def test_what_a_rollback_would_change(refilled):
    """Against what Campaign took last; who said no is no joiner; who returns is counted."""
    found = plan(refilled)
    assert counted(found) == {
        "listed_now": 8, "to_send": 9, "joiners": 1, "leavers": 0, "changed": 1, "unchanged": 7,
    }  # fmt: skip
    assert (found["returning"], codes(found)) == (1, ["returning"])
    assert found["guards"][0]["hint"].count("etl refill rollback a --allow returning --why") == 1
    assert found["refusal"] is None
    first, second = sorted(p.name for p in (refilled.root / "state" / "batches").iterdir())
    assert (found["rollback_of"], found["undoes"]) == (first, second)
    assert found["last_refill"] == second


def test_what_keeps_a_rollback_from_being_asked(refilled):
    """Row guards that are not allowed; those of the world are waited for by the batch."""
    found = plan(refilled, now=refilled.clock.wall() + timedelta(days=3))
    assert codes(found) == ["suppression-stale", "returning"]
    assert [each["code"] for each in against_rollback(found, [])] == ["returning"]
    assert against_rollback(found, ["returning"]) == []


def test_what_a_file_would_change(refilled):
    """Checked, suppressed by the store, compared; Campaign is not asked, and that is said."""
    rows = [
        person(1, firstname="Other"), person(2), person(3, firstname="New"),
        *people(6, first=4), person(50), person(51, email="nobody"),
    ]  # fmt: skip
    found = plan(refilled, rows)
    assert (found["rows_read"], found["rejected"], found["suppressed"]) == (11, 1, 1)
    assert counted(found) == {
        "listed_now": 8, "to_send": 9, "joiners": 1, "leavers": 0, "changed": 1, "unchanged": 7,
    }  # fmt: skip
    assert (codes(found), found["refusal"], found["returning"]) == ([], None, None)
    assert "Campaign is not asked" in found["note"]
    assert (found["file"], found["rollback_of"]) == ("a_3.csv", None)


def test_only_what_campaign_took_is_in_the_list(house):
    """Rows that Campaign refused are joiners of the next refill."""
    house.lists.codes["p1@example.org"] = 6
    house.drop("a_1.csv", people(10))
    house.run()
    assert counted(plan(house, people(10))) == {
        "listed_now": 9, "to_send": 10, "joiners": 1, "leavers": 0, "changed": 0, "unchanged": 9,
    }  # fmt: skip


def test_every_guard_that_would_trip_is_named(house):
    """Not the first alone: rows and suppression data, each with its sentence."""
    house.guards["min_rows"] = 5
    house.drop("a_5.csv", people(10))
    house.run()
    found = plan(house, people(3), "a_4.csv", house.clock.wall() + timedelta(days=3))
    assert codes(found) == ["min-rows", "outdated", "shrunk", "suppression-stale"]
    assert all(each["sentence"] and each["hint"] for each in found["guards"])
    assert codes(plan(house, people(40), "a_6.csv")) == ["grown"]


def test_a_file_of_which_nobody_is_left(refilled):
    """`no-rows`, though rows are fit: everybody in it said no."""
    found = plan(refilled, [person(2)])
    assert (codes(found), found["rejected"], found["suppressed"]) == (["no-rows"], 0, 1)
    assert [each["code"] for each in against_rollback(found, ["shrunk"])] == ["no-rows"]


def test_a_store_that_has_shrunk_is_named(house):
    """The journal knows how many entries the store once had."""
    house.drop("a_1.csv", people(10))
    house.run()
    journal = Journal(house.root / "state" / "journal.sqlite3")
    journal.requests.count_entries("main", 5)
    journal.close()
    assert codes(plan(house, people(10))) == ["store-shrunk"]


def test_before_the_first_refill(house):
    """Everybody joins; without min_rows there is nothing to compare with."""
    house.guards["min_rows"] = None
    house.open()
    house.close()
    found = plan(house, people(3))
    assert counted(found) == {
        "listed_now": 0, "to_send": 3, "joiners": 3, "leavers": 0, "changed": 0, "unchanged": 0,
    }  # fmt: skip
    assert codes(found) == ["first-refill", "suppression-missing"]
    assert plan(house)["refusal"]["code"] == "nothing-kept"


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty-file"), (as_csv(people(3), COLUMNS)[:-2], "truncated")]
)
def test_a_file_that_would_be_refused(refilled, content, code):
    """The reason is told, and nothing is compared."""
    found = plan(refilled, content)
    assert found["refusal"]["code"] == code
    assert found["joiners"] is None


def test_too_many_rejected_rows_refuse_the_file(refilled):
    """A refusal after the rows were read tells their numbers too."""
    found = plan(refilled, [person(n, email="nobody") for n in range(60)])
    assert (found["refusal"]["code"], found["rejected"]) == ("too-many-rejected", 60)


def test_a_dirty_list_is_told(house):
    """What is there now is measured by the last completed refill; the way back is that one."""
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(9))
    house.lists.fail_next("add", DOWN, times=9)
    house.run()
    found = plan(house)
    assert (found["dirty_list"], found["dirty_batch"]) == (True, found["undoes"])
    assert found["rollback_of"] == found["last_refill"]
    assert (found["unchanged"], found["returning"]) == (10, 1)


def test_a_feed_without_a_list(house):
    """Files are compared with the rows of the last drop; there is no way back."""
    del house.feeds[0]["list"], house.feeds[0]["attributes"]
    house.drop("a_1.csv", people(10))
    house.run()
    house.drop("a_2.csv", people(10))
    house.run()
    assert counted(plan(house, people(9))) == {
        "listed_now": 10, "to_send": 9, "joiners": 0, "leavers": 1, "changed": 0, "unchanged": 9,
    }  # fmt: skip
    assert plan(house)["refusal"]["code"] == "no-list"


def test_another_list_is_known_to_hold_nobody(refilled):
    """What another list took says nothing of this one; rows that would go back were that one's."""
    refilled.feeds[0]["list"] = {"id": 200, "name": "New"}
    found = plan(refilled, people(9))
    assert (found["listed_now"], found["joiners"]) == (0, found["to_send"])
    assert plan(refilled)["refusal"]["code"] == "nothing-kept"


def test_kept_rows_that_are_damaged(refilled):
    """Nothing is compared with rows that are not those that were written."""
    for path in (refilled.root / "state" / "batches").glob("*/staged.arrow"):
        path.write_bytes(b"x")
    assert plan(refilled)["refusal"]["code"] == "kept-damaged"
    assert plan(refilled, people(9))["refusal"]["code"] == "kept-damaged"


def tree(root):
    """Every file and folder with its bytes and times, but SQLite's shared memory."""
    found = {}
    for path in sorted(root.rglob("*")):
        if not path.name.endswith("-shm"):
            facts = path.stat()
            content = path.read_bytes() if path.is_file() else sorted(path.iterdir())
            found[str(path)] = (content, facts.st_mtime_ns, facts.st_mode, facts.st_ino)
    return found


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("rows", [None, people(9)])
def test_nothing_is_touched(refilled, running, rows):
    """No byte, name or time of the instance changes, and nobody is asked."""
    if running:
        refilled.open().journal.requests.beat("scanned", "now")
    calls = [refilled.lists.calls, refilled.responses.schedule.calls, refilled.drop_twin.calls]
    asked, before = [len(each) for each in calls], tree(refilled.root)
    plan(refilled, rows)
    after = tree(refilled.root)
    if rows is not None:
        assert after.pop(str(refilled.root / "elsewhere" / "a_3.csv"))
        del after[str(refilled.root / "elsewhere")]
    assert after == before
    assert [len(each) for each in calls] == asked


def test_a_journal_of_an_earlier_release_is_not_brought_up_to_date_by_a_plan(refilled):
    """It is refused with words on what does."""
    journal = Journal(refilled.root / "state" / "journal.sqlite3")
    journal._database.connection.execute("PRAGMA user_version=1")
    journal.close()
    with pytest.raises(Mismatch) as caught:
        plan(refilled)
    assert caught.value.code == "not-migrated"
