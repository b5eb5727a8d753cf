"""The power is cut at any fsync and any rename, and right after it: all promises are kept.

All folders are on one disk; or every folder is on a disk of its own, so that the flush of one
flushes nothing of another; or the inbox is another machine's, as a share is, and keeps what was
written.
"""

import random
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.campaign import PARTS, campaign, my_share, points_of_a_run
from tests.faults.points import Point, call_of, killing
from tests.faults.two_feeds import MEMORY, Servers, TwoFeeds
from tests.servers.loop_disk import LoopDisk, can_mount, loop_disk, make_template

MAKES_DURABLE = {"fsync", "fdatasync", "rename", "renameat", "renameat2"}
FOLDERS = ("inbox", "receipts", "quarantine", "responses")
DISKS = {"one disk": 1, "a share": 1, "a disk for each": 1 + len(FOLDERS)}
"""Arrangements of the folders, and the disks that lose their power in each."""

Folders = dict[str, Path]

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


@contextmanager
def machine(
    template: Path, kept: Path, arrangement: str
) -> Iterator[tuple[list[LoopDisk], Folders]]:
    """The disks of an arrangement, and the folders that do not lie on the first of them."""
    with ExitStack() as stack:
        disks = [stack.enter_context(loop_disk(template)) for _ in range(DISKS[arrangement])]
        if arrangement == "a disk for each":
            elsewhere = {
                name: disk.path / name for name, disk in zip(FOLDERS, disks[1:], strict=True)
            }
        else:
            elsewhere = {"inbox": kept / "inbox"} if arrangement == "a share" else {}
        yield disks, elsewhere


def loses_power(
    servers: Servers, template: Path, point: Point, folder: Path, arrangement: str
) -> bool:
    """One cut at a point, one clean life; False when the life ended before it came there."""
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as kept,
        machine(template, Path(kept), arrangement) as (disks, elsewhere),
        TwoFeeds(servers, disks[0].path, elsewhere) as run,
    ):
        for disk in disks:
            disk.sync()
        run.life(killing(point, folder / "trace"))
        for disk in disks:
            disk.cut_power()
        run.somebody_leaves()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return run.codes[0] == -signal.SIGKILL


def test_some_power_cuts(servers: Servers, template: Path, tmp_path: Path) -> None:
    """After a power cut at any of these points the next start goes on as if nothing had been."""
    places = cuts(points_of_a_run(servers, tmp_path))
    assert len(places) > 250
    chance = random.Random(20261124)
    cut = [
        loses_power(servers, template, point, tmp_path, list(DISKS)[number % 3])
        for number, point in enumerate(chance.sample(places, 9))
    ]
    assert sum(cut) >= 8


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("arrangement", DISKS)
def test_every_power_cut(
    servers: Servers, template: Path, tmp_path: Path, part: int, arrangement: str
) -> None:
    """At every fsync and rename, counted in this very run, and right after each."""
    places = cuts(points_of_a_run(servers, tmp_path))
    campaign(
        f"power cuts, {arrangement}", my_share(places, part),
        lambda point: loses_power(servers, template, point, tmp_path, arrangement),
        sums="cut", at_least=0.9, sort=call_of, part=part, counted=len(places),
    )  # fmt: skip
