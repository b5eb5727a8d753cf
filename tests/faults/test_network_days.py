"""Campaign is away for days by the clock: the daily drops wait, and the newest is sent at last."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from etl.sandbox.campaign import Campaign as Simulator
from tests.servers.fault_http import Fault, HttpProxy, Kind
from tests.servers.house_on_campaign import MANDATOR, HouseOnCampaign
from tests.servers.service import as_csv, people

TYPED = {"points": "1", "revenue": "1,50", "since": "01.02.2024", "seen": "2024-05-06T07:08:09Z"}
GONE = {"p7@example.org", "p12@example.org"}
"""Say no while Campaign is away."""
EVERY = 12 * 3600
DAYS = 3


def long(value: object) -> object:
    """A case for the long form."""
    return pytest.param(value, marks=pytest.mark.long)


def drop(house: HouseOnCampaign, day: int) -> str:
    """The drop of a day: everybody moves on by one person. Returns its name."""
    rows = [row | TYPED for row in people(30, day)]
    name = f"a_2026010{day}.csv"
    house.drop(name, as_csv(rows, house.columns), int(house.clock.now.timestamp()))
    return name


def ids(count: int, first: int) -> set[str]:
    return {row["email"] for row in people(count, first)}


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[HttpProxy]:
    with HttpProxy(tmp_path / "tls") as made:
        yield made


@pytest.fixture
def house(tmp_path: Path, proxy: HttpProxy) -> Iterator[HouseOnCampaign]:
    (tmp_path / "house").mkdir()
    with Simulator() as simulator:
        made = HouseOnCampaign(tmp_path / "house", simulator)
        proxy.aim(simulator.url)
        made.simulator = SimpleNamespace(url=proxy.url, ca_file=proxy.ca_file)
        try:
            yield made
        finally:
            made.close()


def usual_day(house: HouseOnCampaign) -> None:
    """The first drop, before anything happens."""
    drop(house, 1)
    assert house.run() == 0
    assert set(house.content()) == ids(30, 1)


@pytest.mark.parametrize("kind", ["page", *(long(each) for each in ("reset-after", "refuse"))])
def test_away_for_days(house: HouseOnCampaign, proxy: HttpProxy, kind: Kind) -> None:
    """Drops are held, newer ones supersede; then suppression is fetched first, the newest sent."""
    usual_day(house)
    proxy.plan(Fault(kind, times=None))
    for day in range(2, 2 + DAYS):
        name = drop(house, day)
        for _ in range(2):
            house.run()
            house.clock.advance(EVERY)
        assert house.receipts()[name]["fate"] == "held"
        assert set(house.content()) == ids(30, 1)
    house.control.unsubscribe(MANDATOR, sorted(GONE))
    proxy.plan()
    assert house.run() == 0
    fates = [receipt["fate"] for _, receipt in sorted(house.receipts().items())]
    assert fates == ["archived", *["superseded"] * (DAYS - 1), "archived"]
    assert set(house.content()) == ids(30, 1 + DAYS) - GONE
    calls = [each.call for each in proxy.passed]
    assert calls.count("clear") == 1
    assert calls.index("getAllEntries") < calls.index("containsAll") < calls.index("clear")


@pytest.mark.parametrize("nth", [long(1), 2, long(3)])
def test_away_for_days_in_a_refill(house: HouseOnCampaign, proxy: HttpProxy, nth: int) -> None:
    """A refill cut off by days of silence goes on where it was, without who said no meanwhile."""
    usual_day(house)
    calls = [each.call for each in proxy.passed]
    name = drop(house, 2)
    proxy.plan(Fault("page", at=calls.index("addAll3") + nth, times=None))
    for _ in range(DAYS * 2):
        house.run()
        house.clock.advance(EVERY)
    held = house.receipts()[name]
    assert (held["fate"], held["place"]) == ("held", "REFILLING")
    house.control.unsubscribe(MANDATOR, sorted(GONE))
    proxy.plan()
    assert house.run() == 0
    assert house.receipts()[name]["fate"] == "archived"
    assert set(house.content()) == ids(30, 2) - GONE
    assert [each.call for each in proxy.passed].count("clear") == 0
