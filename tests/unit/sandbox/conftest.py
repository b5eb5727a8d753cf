import pytest

from etl.sandbox.campaign import Campaign
from tests.unit.sandbox.caller import Caller

ATTRIBUTES = {
    "firstname": "STRING",
    "lastname": "STRING",
    "age": "INTEGER",
    "revenue": "DECIMAL",
    "born": "DATE",
    "seen": "TIMESTAMP",
    "vip": "BOOLEAN",
}


def furnish(sim):
    """Client 7 with a regular list 100 and an opt-in list 200."""
    sim.control.add_client(7, "api", "secret")
    sim.control.add_list(7, 100, "Newsletter", ATTRIBUTES)
    sim.control.add_list(7, 200, "Opted in", ATTRIBUTES, kind="opt-in")
    return sim


@pytest.fixture
def sim():
    with Campaign() as running:
        yield furnish(running)


@pytest.fixture
def control(sim):
    return sim.control


@pytest.fixture
def caller(sim):
    return Caller(sim).login()
