"""What is kept goes when its batch ended long enough ago, by a clock that can be believed."""

import os
from datetime import timedelta

import pytest

from etl.forgetting import Forgetting
from tests.servers.service import people
from tests.twins.house import House

DAY = 86_400.0


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.close()


def archived(house):
    """Names of archived drops."""
    return sorted(p.name[24:] for p in (house.root / "state/archive").rglob("*") if p.is_file())


def cases(house):
    """How many cases ops find."""
    return len(list((house.root / "quarantine").iterdir()))


def test_a_drop_is_kept_from_its_end_not_from_its_claim(house):
    """Held for longer than archived drops are kept, it is kept as long once it has ended."""
    house.drop("a_1.csv", people(10))
    house.lists.lists[100].name = "Renamed"
    house.run()
    house.clock.advance(40 * DAY)
    (batch,) = (each["batch"] for each in house.receipts().values())
    house.ask("discard", batch)
    house.run()
    assert archived(house) == ["a_1.csv"]
    house.clock.advance(29 * DAY)
    house.run()
    assert archived(house) == ["a_1.csv"]
    house.clock.advance(2 * DAY)
    house.run()
    assert archived(house) == []


def test_a_case_of_a_batch_under_way_is_kept(house):
    """Rejected rows of a drop that waits stay, however long it waits; 90 days from its end."""
    house.drop("a_1.csv", [*people(10), people(1)[0] | {"email": "nobody"}])
    house.lists.lists[100].name = "Renamed"
    house.run()
    house.clock.advance(200 * DAY)
    house.run()
    assert cases(house) == 1
    house.ask("discard", next(iter(house.receipts().values()))["batch"])
    house.run()
    house.clock.advance(89 * DAY)
    house.run()
    assert cases(house) == 1
    house.clock.advance(2 * DAY)
    house.run()
    assert cases(house) == 0


def test_a_clock_that_was_just_set_is_not_believed(house):
    """A clock that jumps years ahead removes nothing for an hour, and nothing if it jumps back."""
    house.drop("a_1.csv", people(10))
    house.run()
    world = house.open()
    forgetting = Forgetting(world)
    right = house.clock.now
    house.clock.now = right.replace(year=2038)
    for _ in range(50):
        forgetting.turn()
        house.clock.advance(60)
    house.clock.now = right
    for _ in range(200):
        forgetting.turn()
        house.clock.advance(60)
    assert archived(house) == ["a_1.csv"]
    house.clock.now = right.replace(year=2027)
    for _ in range(62):
        forgetting.turn()
        house.clock.advance(60)
    assert archived(house) == []


def test_copies_made_by_the_way_have_their_time(house):
    """Backups of an earlier version and pages that did not fit hold people: gone after 30 days."""
    house.open()
    state, now = house.root / "state", house.clock.wall()
    (state / "unfit").mkdir()
    copies = [state / "store.sqlite3.v1-backup", state / "unfit" / "main-getUnsubscribes.json"]
    for path in copies:
        path.write_bytes(b"x")
        os.utime(path, (now.timestamp(), now.timestamp()))
    for days, left in ((29, 2), (31, 0)):
        Forgetting(house.world).forget(now + timedelta(days=days))
        assert sum(path.exists() for path in copies) == left
    assert (state / "journal.sqlite3").exists()
