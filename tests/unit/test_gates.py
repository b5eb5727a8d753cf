"""What the guards are asked about suppression data, and what is told when Campaign is the cause."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from etl.batch import Place
from etl.errors import FarSideRefused, FarSideUnavailable
from etl.pipeline import Pipeline
from tests.servers.service import people
from tests.twins.house import House
from tests.twins.recipient_list import OneList

AWAY = FarSideUnavailable("campaign-unreachable", detail="away")
DAY_SECONDS = timedelta(days=1).total_seconds()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def held(house: House) -> str:
    """The code that holds the drop; nothing was uploaded or cleared by it."""
    receipt = house.receipts()["a_1.csv"]
    assert receipt["fate"] == "held"
    return str(receipt["reason"]["code"])


@pytest.mark.parametrize("error", [AWAY, FarSideRefused("campaign-login")])
def test_campaign_itself_is_named_when_nothing_could_be_asked(house: House, error: Exception):
    """Missing data is the consequence; that Campaign is away, or refuses us, is the cause."""
    house.responses.fail_next("now", error, times=99)
    house.drop("a_1.csv", people(5))
    house.run()
    assert held(house) == error.code
    assert (house.drop_twin.files, house.count("clear")) == ({}, 0)


def test_data_too_old_because_campaign_is_away(house: House):
    """After a day of silence it is still the silence that is told."""
    house.run()
    house.clock.advance(DAY_SECONDS + 1)
    house.responses.fail_next("now", AWAY, times=99)
    house.drop("a_1.csv", people(5))
    house.run()
    assert held(house) == "campaign-unreachable"
    assert (house.drop_twin.files, house.count("clear")) == ({}, 0)


def test_one_source_that_fails_is_told_as_what_it_leaves_behind(house: House):
    """When Campaign answers but one stream does not, the data is called stale."""
    house.run()
    house.clock.advance(DAY_SECONDS + 1)
    house.responses.now_ms += int(DAY_SECONDS * 1000) + 1000
    house.responses.fail_next("page", AWAY, times=99)
    house.drop("a_1.csv", people(5))
    house.run()
    assert held(house) == "suppression-stale"
    assert (house.drop_twin.files, house.count("clear")) == ({}, 0)


def test_a_refill_that_waited_does_not_wait_for_its_own_data(tmp_path: Path):
    """With a maximum age of a minute the data is fetched anew when the refill goes on."""
    made = Patient(tmp_path)
    made.lists.lists[100] = OneList("Another", ("firstname", "lastname"))
    made.drop("a_1.csv", people(5))
    made.run()
    assert made.receipts()["a_1.csv"]["reason"]["code"] == "wrong-list"
    made.lists.lists[100] = OneList("List 0", ("firstname", "lastname"))
    made.clock.advance(100)
    world = made.open()
    (batch,) = world.journal.batches.under_way()
    done = Pipeline(world).advance(world.journal.batches.let_go(batch))
    assert (done.place, done.held) == (Place.ARCHIVED, None)
    made.close()


class Patient(House):
    """A house whose data is old after a minute, and that tries again after another."""

    def config_table(self) -> dict[str, object]:
        """With a short maximum age."""
        table = super().config_table()
        table["suppression"] |= {"max_age_hours": 1 / 60, "fetch_every_minutes": 1000}
        table["far_side"] |= {"again_minutes": 1.5}
        return table
