"""Killed at any system call that lasts or goes out, and again, and again: all promises are kept.

The calls are counted in an undisturbed run, none is listed by hand. The long forms die at every
one of them, and three times in a row at random ones.
"""

import os
import random
import signal
from pathlib import Path

import pytest

from tests.faults.campaign import PARTS, campaign, my_share, points_of_a_run
from tests.faults.points import Point, call_of, killing
from tests.faults.two_feeds import Servers, TwoFeeds

SEED = int(os.environ.get("ETL_FAULTS_SEED", "0"))
TRIPLES = 125
"""In each part: a thousand in all."""


def dies_once(servers: Servers, point: Point, folder: Path) -> bool:
    """One death at a point, one clean life; False when the life ended before it came there."""
    with TwoFeeds(servers) as run:
        run.life(killing(point, folder / "trace"))
        run.somebody_leaves()
        if point.nth % 2:
            run.consumer_takes()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return run.codes[0] == -signal.SIGKILL


def dies_thrice(servers: Servers, seed: int, places: list[Point], folder: Path) -> int:
    """Three lives of `once` or the daemon that end at random points; returns how many did.

    A daemon that does not come to its point is killed all the same, at rest: that is none of them.
    """
    chance = random.Random(seed)
    leaves = chance.randrange(3)
    with TwoFeeds(servers) as run:
        for number in range(3):
            verb = chance.choice(["once", "once", "run"])
            # What was done in an earlier life is not done again: early points alone are reached.
            point = chance.choice(places[: len(places) // (1, 2, 3)[number]])
            run.life(killing(point, folder / "trace"), verb=verb)
            if number == leaves:
                run.somebody_leaves()
                run.consumer_takes()
        run.comes_to_rest()
        run.must_be_true(deaths=3)
        return run.killed


def test_some_deaths(servers: Servers, tmp_path: Path) -> None:
    """A process killed at any of these points leaves nothing that the next start does not mend."""
    places = points_of_a_run(servers, tmp_path)
    assert len(places) > 800
    assert {point.call for point in places} >= {
        "fsync", "fdatasync", "rename", "unlink", "mkdir", "openat", "write", "pwrite64", "sendto",
    }  # fmt: skip
    chance = random.Random(20261124)
    died = [dies_once(servers, point, tmp_path) for point in chance.sample(places, 14)]
    assert sum(died) >= 12


def test_some_triple_deaths(servers: Servers, tmp_path: Path) -> None:
    """Three deaths in a row, also while an earlier one is mended, are mended too."""
    places = points_of_a_run(servers, tmp_path)
    assert sum(dies_thrice(servers, seed, places, tmp_path) for seed in range(6)) >= 10


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_death(servers: Servers, tmp_path: Path, part: int) -> None:
    """At every point that lasts or goes out, counted in this very run."""
    places = points_of_a_run(servers, tmp_path)
    campaign(
        "kill points", my_share(places, part), lambda point: dies_once(servers, point, tmp_path),
        sums="died", at_least=0.9, sort=call_of, part=part, counted=len(places),
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_triple_deaths(servers: Servers, tmp_path: Path, part: int) -> None:
    """A thousand times three deaths in a row; each ETL_FAULTS_SEED has a thousand others."""
    places = points_of_a_run(servers, tmp_path)
    first = SEED * 1000 + 1000 + part * TRIPLES
    campaign(
        "triple kills", range(first, first + TRIPLES),
        lambda seed: dies_thrice(servers, seed, places, tmp_path),
        sums="died", at_least=1.9, first_seed=first,
    )  # fmt: skip
