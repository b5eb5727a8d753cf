"""Killed at any system call that lasts or goes out, and again, and again: all promises are kept.

The calls are counted in an undisturbed run, none is listed by hand. The long forms die at every
one of them, and three times in a row at random ones.
"""

import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.points import Point, killing, points, tracing
from tests.faults.two_feeds import Servers, TwoFeeds, my_share, write_figures

SEED = int(os.environ.get("ETL_FAULTS_SEED", "0"))
PARTS = 8
TRIPLES = 125
"""In each part: a thousand in all."""


def counted(servers: Servers, folder: Path) -> list[Point]:
    """Every point of an undisturbed run."""
    trace = folder / "counted"
    with TwoFeeds(servers) as run:
        assert run.life(tracing(trace)) == 1  # a row was rejected
        run.must_be_true()
    return points(trace.read_text())


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
    """Three lives of `once` or the daemon that end at random points; returns how many did."""
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


def tell(point: object, error: BaseException) -> str:
    """A violation, with what is needed to see it again."""
    return f"{point}: {type(error).__name__}: {str(error)[:600]}"


def test_some_deaths(servers: Servers, tmp_path: Path) -> None:
    """A process killed at any of these points leaves nothing that the next start does not mend."""
    places = counted(servers, tmp_path)
    assert len(places) > 800
    assert {point.call for point in places} >= {
        "fsync", "fdatasync", "rename", "unlink", "mkdir", "openat", "write", "pwrite64", "sendto",
    }  # fmt: skip
    chance = random.Random(20261124)
    died = [dies_once(servers, point, tmp_path) for point in chance.sample(places, 20)]
    assert sum(died) >= 17


def test_some_triple_deaths(servers: Servers, tmp_path: Path) -> None:
    """Three deaths in a row, also while an earlier one is mended, are mended too."""
    places = counted(servers, tmp_path)
    assert sum(dies_thrice(servers, seed, places, tmp_path) for seed in range(6)) >= 10


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_death(servers: Servers, tmp_path: Path, part: int) -> None:
    """At every point that lasts or goes out, counted in this very run."""
    places = counted(servers, tmp_path)
    wrong, died, calls = [], 0, Counter[str]()
    mine = my_share(places, part, PARTS)
    for point in mine:
        try:
            died += dies_once(servers, point, tmp_path)
        except (AssertionError, TimeoutError, ValueError) as error:
            wrong.append(tell(point, error))
        calls[point.call] += 1
    write_figures(kind="kill points", part=part, counted=len(places), tried=len(mine), died=died,
                  calls=calls, violations=len(wrong))  # fmt: skip
    assert wrong == []


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_many_triple_deaths(servers: Servers, tmp_path: Path, part: int) -> None:
    """A thousand times three deaths in a row; the seeds go on from ETL_FAULTS_SEED."""
    places = counted(servers, tmp_path)
    wrong, died = [], Counter[int]()
    first = SEED + 1000 + part * TRIPLES
    for seed in range(first, first + TRIPLES):
        try:
            died[dies_thrice(servers, seed, places, tmp_path)] += 1
        except (AssertionError, TimeoutError, ValueError) as error:
            wrong.append(tell(seed, error))
    write_figures(kind="triple kills", first_seed=first, tried=TRIPLES, deaths=died,
                  violations=len(wrong))  # fmt: skip
    assert wrong == []
