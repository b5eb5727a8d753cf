"""Killed at any call that lasts or goes out while a wrong refill is taken back.

The former content comes back once, without who said no meanwhile, and no file is delivered again.
"""

import signal
from pathlib import Path

import pytest

from tests.faults.campaign import PARTS, campaign, my_share
from tests.faults.points import Point, call_of, killing, points, tracing
from tests.faults.two_feeds import ACCEPTED, LEAVES, Servers, TwoFeeds
from tests.servers.service import as_csv, people

WRONG = "a_20261125.csv"
BACK = set(ACCEPTED["a.csv"]) - {LEAVES}


def wish(run: TwoFeeds) -> None:
    """A wrong drop was refilled, somebody said no since, and an operator asks for the way back."""
    made = run.made
    assert run.life() == 1  # a row was rejected
    made.drop(WRONG, as_csv(people(22, first=2)))
    assert run.life() == 0
    made.control.unsubscribe(mandator=made.mandator, ids=[LEAVES])
    words = ["refill", "rollback", "a", "--allow", "returning", "--why", "wrong"]
    asked = run.servers.nursery.born(
        [*words, "--config", str(made.config)], made.log, made.environment()
    )
    assert asked.wait(30) == 0, run.words()
    assert run.rows("SELECT verb FROM requests WHERE taken_at IS NULL") == [("rollback",)]


def is_taken_back(run: TwoFeeds, remote: dict[str, bytes], deaths: int) -> None:
    """Assert that the list holds the former content once more, and that all of it is told once."""
    made = run.made
    assert len(made.list_ids(0)) == len(BACK)
    assert set(made.list_ids(0)) == BACK
    assert made.remote() == remote
    ((batch,),) = run.rows("SELECT id FROM batches WHERE rollback_of NOTNULL")
    told = [each for some in made.receipts().values() for each in some if each["batch"] == batch]
    assert [(each["fate"], each["upload"]) for each in told] == [("archived", None)]
    assert told[0]["list"]["count"] == len(BACK)
    assert run.rows("SELECT count(*) FROM batches WHERE finished_at IS NULL") == [(0,)]
    assert run.rows("SELECT count(*) FROM requests WHERE taken_at IS NULL") == [(0,)]
    clears = [
        call for call in made.control.calls(since=run.first_call)
        if call["method"] == "clear" and call["list_id"] == made.first_list
    ]  # fmt: skip
    assert 3 <= len(clears) <= 3 + deaths
    assert run.rows("PRAGMA integrity_check") == [("ok",)]
    assert "Traceback" not in made.log.read_text(errors="replace"), run.words()


def points_of_a_way_back(servers: Servers, folder: Path) -> list[Point]:
    """Every point of a way back that nobody disturbs."""
    with TwoFeeds(servers) as run:
        wish(run)
        remote = run.made.remote()
        assert run.life(tracing(folder / "counted")) == 0
        is_taken_back(run, remote, 0)
    return points((folder / "counted").read_text())


def dies_on_the_way_back(servers: Servers, point: Point, folder: Path) -> bool:
    """One death at a point, one clean life; False when the life ended before it came there."""
    with TwoFeeds(servers) as run:
        wish(run)
        remote = run.made.remote()
        died = run.life(killing(point, folder / "trace")) == -signal.SIGKILL
        assert run.life() == 0, run.words()
        is_taken_back(run, remote, 1)
        return died


def test_some_deaths_on_the_way_back(servers: Servers, tmp_path: Path) -> None:
    """A rollback that is cut off at any of these points is carried out all the same, and once."""
    places = points_of_a_way_back(servers, tmp_path)
    assert len(places) > 200
    chosen = places[7 :: len(places) // 4]
    assert sum(dies_on_the_way_back(servers, point, tmp_path) for point in chosen) >= 4


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_death_on_the_way_back(servers: Servers, tmp_path: Path, part: int) -> None:
    """At every point, counted in this very run."""
    places = points_of_a_way_back(servers, tmp_path)
    campaign(
        "kills in a rollback", my_share(places, part),
        lambda point: dies_on_the_way_back(servers, point, tmp_path),
        sums="died", at_least=0.9, sort=call_of, part=part, counted=len(places),
    )  # fmt: skip
