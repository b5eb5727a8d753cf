"""Killed at any commit while a newer drop takes over a list that was left partial.

The list is never partial without a batch that says so: not at the death, not after the next life.
"""

import signal
from pathlib import Path

import pytest

from tests.faults.campaign import write_figures
from tests.faults.points import Point, killing, points, tracing
from tests.faults.two_feeds import OLD, Servers, TwoFeeds
from tests.servers.service import as_csv, people

NEWER = "a_20261125.csv"
PEOPLE = people(24, first=2)
EXPECTED = [each["email"] for each in PEOPLE if each["email"][:3] not in ("p3@", "p4@")]


def left_partial(run: TwoFeeds) -> None:
    """The first feed's list holds ten people, its batch is held, and a newer drop is there."""
    made = run.made
    made.again = "again_minutes = 600\nlater_minutes = 600\ntries = 1"
    made.write_config()
    rule = made.control.schedule(
        "addAll3", "http", nth=2, times=None, list_id=made.first_list, status=503, body="busy"
    )
    assert run.life() == 1
    made.control.unschedule(rule)
    assert run.place("a.csv") == "REFILLING"
    assert len(made.list_ids(0)) == 10
    made.drop(NEWER, as_csv(PEOPLE))


def says_so_when_partial(run: TwoFeeds) -> None:
    """A list that is neither what it was nor what it shall be has a batch in REFILLING."""
    listed = set(run.made.list_ids(0))
    if listed != set(EXPECTED):
        assert listed != set(OLD)
        assert run.rows("SELECT count(*) FROM batches WHERE place='REFILLING'") == [(1,)]


def is_taken_over(run: TwoFeeds) -> None:
    """The newer drop is in the list, the older one ended once, and both are told."""
    assert sorted(run.made.list_ids(0)) == sorted(EXPECTED)
    receipts = run.made.receipts()
    assert [each["fate"] for each in receipts["a.csv"]] == ["superseded"]
    assert [each["fate"] for each in receipts[NEWER]] == ["archived"]
    assert receipts[NEWER][0]["list"]["count"] == len(EXPECTED)
    assert run.rows("SELECT count(*) FROM batches WHERE place='REFILLING'") == [(0,)]
    assert [path.name for path in run.made.inbox.iterdir()] == [".claimed"]


def commits(servers: Servers, folder: Path) -> list[Point]:
    """The commits of a takeover that nobody disturbs."""
    with TwoFeeds(servers) as run:
        left_partial(run)
        run.life(tracing(folder / "counted"))
        is_taken_over(run)
    counted = points((folder / "counted").read_text())
    return [point for point in counted if point.call == "fdatasync"]


def dies_in_takeover(servers: Servers, point: Point, folder: Path) -> bool:
    """One death at a commit, one clean life."""
    with TwoFeeds(servers) as run:
        left_partial(run)
        died = run.life(killing(point, folder / "trace")) == -signal.SIGKILL
        says_so_when_partial(run)
        run.life()
        is_taken_over(run)
        return died


def test_death_at_some_commits_of_a_takeover(servers: Servers, tmp_path: Path) -> None:
    """A takeover that is cut off goes forward, and at no moment is the partial list forgotten."""
    chosen = commits(servers, tmp_path)[5::12]
    assert len(chosen) >= 4
    died = [dies_in_takeover(servers, point, tmp_path) for point in chosen]
    assert all(died)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_death_at_any_commit_of_a_takeover(servers: Servers, tmp_path: Path) -> None:
    """The same at every one."""
    every = commits(servers, tmp_path)
    died = [dies_in_takeover(servers, point, tmp_path) for point in every]
    assert all(died)
    write_figures(kind="kills in a takeover", tried=len(every), died=sum(died), violations=0)
