"""Any call to a disk fails, once or from then on: nothing is lost, nothing is taken as done.

The first life meets the error and ends as it can; the second finds a sound disk, and one such
life brings everything to rest. A write that takes no byte is injected; one that takes some of its
bytes is what the small disks give, which are full in truth.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.campaign import PARTS, campaign, my_share, points_of_a_run, write_figures
from tests.faults.points import Point, call_of, failing, killing
from tests.faults.two_feeds import Servers, TwoFeeds

WRITES = {"write", "writev", "pwrite64", "pwritev"}
NAMES = {"openat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
         "rmdir", "link", "linkat", "symlink"}  # fmt: skip
FLUSHES = {"fsync", "fdatasync"}


def ways(point: Point) -> list[tuple[str, bool]]:
    """How a call can fail, and whether it goes on failing until the process ends.

    Of the many writes each meets two of five ways, the next one two others.
    """
    if point.call in WRITES:
        every = [("error=ENOSPC", False), ("error=EIO", False), ("error=EDQUOT", True),
                 ("retval=0", False), ("error=EINTR", False)]  # fmt: skip
        return [every[point.nth % 5], every[(point.nth + 2) % 5]]
    if point.call in FLUSHES:
        return [("error=EIO", False), ("error=ENOSPC", True), ("error=EDQUOT", False)]
    if point.call in NAMES:
        return [("error=EIO", False), ("error=EROFS", True), ("error=ENOSPC", False),
                ("error=EACCES", False)]  # fmt: skip
    return [("error=EIO", False), ("error=EROFS", True)]


def trials(places: list[Point]) -> list[tuple[Point, str, bool]]:
    """Every call to a disk in its ways."""
    return [
        (point, how, from_here)
        for point in places
        if point.what != "far side"
        for how, from_here in ways(point)
    ]


def meets(servers: Servers, trial: tuple[Point, str, bool], folder: Path) -> bool:
    """One life with the error, one without; whether the error came."""
    point, how, from_here = trial
    trace = folder / "trace"
    with TwoFeeds(servers) as run:
        code = run.life(failing(point, how, trace, from_here=from_here))
        assert code in (0, 1, 69), f"exit {code}: {run.words()}"
        assert '"event": "bug"' not in run.made.log.read_text(), run.words()
        if how == "error=EINTR":
            assert code == 1  # a row was rejected
            run.must_be_true()
        run.somebody_leaves()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
    return "(INJECTED)" in trace.read_text()


def test_some_errors_of_a_disk(servers: Servers, tmp_path: Path) -> None:
    """A disk that is full, broken, read-only, or takes no byte loses nothing of ours."""
    every = trials(points_of_a_run(servers, tmp_path))
    assert len(every) > 2000
    chosen = random.Random(20261124).sample(every, 14)
    assert {how for _, how, _ in chosen} >= {"error=EIO", "error=ENOSPC", "retval=0"}
    assert sum(meets(servers, each, tmp_path) for each in chosen) >= 12


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_error_of_a_disk(servers: Servers, tmp_path: Path, part: int) -> None:
    """At every call to a disk, counted in this very run."""
    every = trials(points_of_a_run(servers, tmp_path))
    campaign(
        "disk errors", my_share(every, part), lambda trial: meets(servers, trial, tmp_path),
        sums="met", at_least=0.9, sort=lambda trial: trial[1], part=part, counted=len(every),
    )  # fmt: skip


# --- disks that are really full, and really read-only -------------------------------------------


@contextmanager
def small_disks(paths: list[Path]) -> Iterator[None]:
    """File systems of 8 MB in the place of folders."""
    with ExitStack() as stack:
        for path in paths:
            path.mkdir(mode=0o700, exist_ok=True)
            options = "size=8m,mode=0700"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], check=True)
            stack.callback(subprocess.run, ["umount", "-l", path], check=True)
        yield


def fill(path: Path, left_kilobytes: int) -> Path:
    """Take all but so much of a disk."""
    filler = path / ".filler"
    free = os.statvfs(path)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left_kilobytes * 1024)
    return filler


def fills_up(servers: Servers, kilobytes: int, names: list[str]) -> int:
    """So much room is left at first and enough later; returns the first life's exit code."""
    with TwoFeeds(servers) as run, small_disks([run.root / name for name in names]):
        fillers = [fill(run.root / name, kilobytes) for name in names]
        code = run.life()
        assert code in (0, 1, 69), f"exit {code}: {run.words()}"
        assert '"event": "bug"' not in run.made.log.read_text(), run.words()
        # SQLite needs a little room even to read.
        for filler in fillers:
            filler.unlink()
        run.somebody_leaves()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return code


ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


@ROOT
@pytest.mark.parametrize("kilobytes", [0, 60, 150, 260])
def test_state_disk_fills_up(servers: Servers, kilobytes: int) -> None:
    """A state folder on a disk that is full in truth, a little later each time, loses nothing."""
    fills_up(servers, kilobytes, ["state"])


@ROOT
@pytest.mark.parametrize("kilobytes", [0, 4, 12])
def test_every_other_disk_fills_up(servers: Servers, kilobytes: int) -> None:
    """Receipts, cases and the CRM's files wait for room, and all of them come."""
    fills_up(servers, kilobytes, ["receipts", "quarantine", "responses"])


def remounted(path: Path, how: str) -> None:
    """Make a mounted disk `ro` or `rw`, as the kernel itself makes a broken one read-only."""
    subprocess.run(["mount", "-o", f"remount,{how}", path], check=True)


def becomes_read_only(servers: Servers, point: Point, folder: Path) -> bool:
    """A death at a point, a life on a state folder that may not be written, and a sound one."""
    with TwoFeeds(servers) as run, small_disks([run.root / "state"]):
        state = run.root / "state"
        run.life(killing(point, folder / "trace"))
        left = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
        calls, lists = len(run.made.control.calls()), [run.made.list_ids(n) for n in range(2)]
        remounted(state, "ro")
        heard = run.made.log.stat().st_size
        code = run.life()
        # Without its journal it can do nothing, and says so: nobody is called.
        said = run.made.log.read_text()[heard:]
        assert (code, "disk-error" in said, "Traceback" in said) == (1, True, False), said
        assert left == {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
        assert len(run.made.control.calls()) == calls
        assert [run.made.list_ids(n) for n in range(2)] == lists
        remounted(state, "rw")
        run.somebody_leaves()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return run.killed == 1


@ROOT
def test_the_state_disk_becomes_read_only(servers: Servers, tmp_path: Path) -> None:
    """Wherever a run was cut off, a life that may not write its journal does nothing at all."""
    places = points_of_a_run(servers, tmp_path)
    chosen = random.Random(20261124).sample(places, 4)
    died = [becomes_read_only(servers, point, tmp_path) for point in chosen]
    assert sum(died) >= 3


@ROOT
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_state_disk_becomes_read_only_anywhere(servers: Servers, tmp_path: Path) -> None:
    """The same after a death at every eighth point."""
    places = points_of_a_run(servers, tmp_path)
    campaign(
        "read-only disks", my_share(places, 3), lambda p: becomes_read_only(servers, p, tmp_path),
        sums="died", at_least=0.9, sort=call_of, counted=len(places[3::PARTS]),
    )  # fmt: skip


@ROOT
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_disks_fill_up_anywhere(servers: Servers) -> None:
    """Room for every possible step in 4 KB more each time."""
    codes = [fills_up(servers, kb, ["state"]) for kb in range(0, 480, 4)]
    codes += [
        fills_up(servers, kb, ["receipts", "quarantine", "responses"]) for kb in range(0, 48, 4)
    ]
    write_figures(kind="full disks", tried=len(codes), stopped=sum(code != 1 for code in codes),
                  violations=0)  # fmt: skip
