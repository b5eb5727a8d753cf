"""The Clock contract: one suite for the machine's clock and its twin."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from etl.ports import Clock, Stopped
from etl.wire.clock import SystemClock
from tests.twins.clock import TwinClock

WAIT = 0.05
LONG = 60.0


@dataclass
class Stage:
    """A clock, and how the service is told to stop."""

    clock: Clock
    stop: Callable[[], None]
    """Tell it now."""
    stop_during: Callable[[], None]
    """Tell it while the next wait is under way."""


def system_stage() -> Stage:
    """The machine's clock."""
    stop = threading.Event()
    return Stage(
        SystemClock(stop), stop.set, lambda: threading.Timer(WAIT, stop.set).start()
    )  # fmt: skip


def twin_stage() -> Stage:
    """The twin; its waits have no length, so a stop meets the next one."""
    clock = TwinClock()

    def stop() -> None:
        clock.stop_after = len(clock.sleeps)

    return Stage(clock, stop, stop)


@pytest.fixture(params=[system_stage, twin_stage], ids=["system", "twin"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return request.param()


def test_monotonic_never_falls(stage: Stage) -> None:
    """However often it is asked, and whatever is waited for, it does not go back."""
    seen = [stage.clock.monotonic() for _ in range(100)]
    stage.clock.sleep(0)
    seen += [stage.clock.monotonic() for _ in range(100)]
    assert seen == sorted(seen)


@pytest.mark.parametrize("seconds", [WAIT, 3 * WAIT])
def test_a_wait_lasts(stage: Stage, seconds: float) -> None:
    """Both clocks go on by at least the seconds waited for, and not by much more."""
    began, wall = stage.clock.monotonic(), stage.clock.wall()
    stage.clock.sleep(seconds)
    lasted = stage.clock.monotonic() - began
    assert seconds - 0.001 <= lasted < seconds + 10
    assert stage.clock.wall() - wall >= timedelta(seconds=seconds - 0.01)


def test_wall_is_utc(stage: Stage) -> None:
    """The wall clock knows its zone, and it is UTC."""
    now = stage.clock.wall()
    assert now.tzinfo is UTC
    assert now.utcoffset() == timedelta(0)
    assert datetime(2025, 1, 1, tzinfo=UTC) < now < datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [0, WAIT, LONG])
def test_who_was_told_to_stop_does_not_wait(stage: Stage, seconds: float) -> None:
    """Every wait, even one of no length, raises Stopped at once; it does so each time."""
    stage.stop()
    began = stage.clock.monotonic()
    for _ in range(2):
        with pytest.raises(Stopped):
            stage.clock.sleep(seconds)
    assert stage.clock.monotonic() - began < LONG / 2


def test_a_stop_ends_a_wait(stage: Stage) -> None:
    """Told to stop while it waits, it does not wait to the end."""
    stage.stop_during()
    began = stage.clock.monotonic()
    with pytest.raises(Stopped):
        stage.clock.sleep(LONG)
    assert stage.clock.monotonic() - began < LONG / 2


def test_no_wait_without_a_stop_goes_on(stage: Stage) -> None:
    """A wait of no length only asks whether to stop."""
    began = stage.clock.monotonic()
    stage.clock.sleep(0)
    assert stage.clock.monotonic() - began < LONG / 2
