"""The power is cut at any fsync and any rename, and right after it: all promises are kept.

All folders are on the disk that loses its power; in every second run the inbox is another
machine's, as a share is, and keeps what was written.
"""

import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.points import Point, killing
from tests.faults.test_every_call import PARTS, counted, tell
from tests.faults.two_feeds import Servers, TwoFeeds, my_share, write_figures
from tests.servers.loop_disk import can_mount, loop_disk, make_template

MAKES_DURABLE = {"fsync", "fdatasync", "rename", "renameat", "renameat2"}

pytestmark = pytest.mark.skipif(not can_mount(), reason="needs root and loop devices")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file system."""
    return make_template(tmp_path_factory.mktemp("template"))


def cuts(places: list[Point]) -> list[Point]:
    """Every call that makes something durable, and the call that follows it."""
    found = [
        point
        for before, point in zip([None, *places], places, strict=False)
        if point.call in MAKES_DURABLE or (before is not None and before.call in MAKES_DURABLE)
    ]
    return [point for point in found if point.call != "read"]


def loses_power(
    servers: Servers, template: Path, point: Point, folder: Path, *, share: bool
) -> bool:
    """One cut at a point, one clean life; False when the life ended before it came there."""
    with loop_disk(template) as disk, TwoFeeds(servers, disk.path, share=share) as run:
        disk.sync()
        run.life(killing(point, folder / "trace"))
        disk.cut_power()
        run.somebody_leaves()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return run.codes[0] == -signal.SIGKILL


def test_some_power_cuts(servers: Servers, template: Path, tmp_path: Path) -> None:
    """After a power cut at any of these points the next start goes on as if nothing had been."""
    places = cuts(counted(servers, tmp_path))
    assert len(places) > 250
    chance = random.Random(20261124)
    cut = [
        loses_power(servers, template, point, tmp_path, share=bool(number % 2))
        for number, point in enumerate(chance.sample(places, 14))
    ]
    assert sum(cut) >= 12


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("part", range(PARTS))
def test_every_power_cut(
    servers: Servers, template: Path, tmp_path: Path, part: int, share: bool
) -> None:
    """At every fsync and rename, counted in this very run, and right after each."""
    places = cuts(counted(servers, tmp_path))
    wrong, cut, calls = [], 0, Counter[str]()
    mine = my_share(places, part, PARTS)
    for point in mine:
        try:
            cut += loses_power(servers, template, point, tmp_path, share=share)
        except (AssertionError, TimeoutError, ValueError) as error:
            wrong.append(tell(point, error))
        calls[point.call] += 1
    write_figures(kind="power cuts", part=part, share=share, counted=len(places), tried=len(mine),
                  cut=cut, calls=calls, violations=len(wrong))  # fmt: skip
    assert wrong == []
