"""Local times and the moments they mean, over the days on which clocks change."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.schedule import Schedule, moment_of

# Zone, the day on which its clocks go forward in 2026, the day on which they go back.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29), date(2026, 10, 25)),
    ("Europe/London", date(2026, 3, 29), date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8), date(2026, 11, 1)),
    ("America/Santiago", date(2026, 9, 6), date(2026, 4, 4)),
    ("Australia/Lord_Howe", date(2026, 10, 4), date(2026, 4, 5)),
    ("Pacific/Auckland", date(2026, 9, 27), date(2026, 4, 5)),
]
ZONES = [zone for zone, _, _ in CHANGES]
HALF_HOURS = [time(hour, minute) for hour in range(24) for minute in (0, 30)]
STEP = timedelta(minutes=15)


def by_the_clock_on_the_wall(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The moment at which somebody in the zone, from the day's begin on, first sees it that late.

    Walked through in steps; every change of clocks there is lies on a step.
    """
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=15)
    while True:
        there = moment.astimezone(zone).replace(tzinfo=None)
        if there >= datetime.combine(day, at):
            return moment
        moment += STEP


@pytest.mark.parametrize(("name", "forward", "back"), CHANGES)
def test_both_days_of_a_change_have_every_time_once(name: str, forward: date, back: date) -> None:
    """A time that is left out means the first instant after, one that comes twice the first."""
    zone = ZoneInfo(name)
    left_out = twice = 0
    for day in (forward, back):
        for at in HALF_HOURS:
            found = moment_of(day, at, zone)
            assert found == by_the_clock_on_the_wall(day, at, zone), (day, at)
            there = found.astimezone(zone)
            left_out += there.time() != at
            again = datetime.combine(day, at, zone).replace(fold=1).astimezone(UTC)
            twice += there.time() == at and again > found
    assert left_out >= 1
    assert twice >= 1


@pytest.mark.parametrize("name", ZONES)
def test_a_year_has_a_run_a_day(name: str) -> None:
    """At half past two, every local day has its run, one after the other, none of them twice."""
    schedule = Schedule(ZoneInfo(name), (time(2, 30),))
    now = datetime(2026, 1, 1, 15, tzinfo=UTC)
    found = []
    for _ in range(365 * 4):
        last = schedule.last(now)
        assert last <= now
        found += [last] if found[-1:] != [last] else []
        now += timedelta(hours=6)
    days = [each.astimezone(schedule.zone).date() for each in found]
    assert days == [days[0] + timedelta(days=number) for number in range(len(days))]
    assert len(days) >= 364


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    times=st.lists(st.times(), min_size=1, max_size=4),
    now=st.integers(0, 5 * 365 * 24 * 60).map(
        lambda minutes: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    ),
    later=st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_the_last_run_never_goes_back(
    zone: ZoneInfo, times: list[time], now: datetime, later: timedelta
) -> None:
    """Whenever one looks, the last run is at most a day and a change of clocks away."""
    schedule = Schedule(zone, tuple(times))
    last = schedule.last(now)
    assert timedelta(0) <= now - last <= timedelta(hours=26)
    assert schedule.last(now + later) >= last
    assert schedule.last(last) == last
    assert schedule.last(last - timedelta(microseconds=1)) < last
