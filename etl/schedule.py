"""Local times of a day in a zone, and the moments they mean; it reads no clock.

A time that the change of clocks leaves out means the first instant after it, one that comes twice
the first of the two: so no day is left out and none is counted twice.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Schedule:
    """So many times a day, every day."""

    zone: ZoneInfo
    times: tuple[time, ...]

    def last(self, now: datetime) -> datetime:
        """The newest moment of the schedule that is not after `now`, in UTC."""
        today = now.astimezone(self.zone).date()
        days = [today + timedelta(days=days) for days in (-2, -1, 0)]
        moments = [moment_of(day, at, self.zone) for day in days for at in self.times]
        return max(moment for moment in moments if moment <= now)


def moment_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The moment, in UTC, that a local time of a day means."""
    local = datetime.combine(day, at)
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == local:
        return first
    # The clocks were put forward over it: some second between these two is the first after that.
    before = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    seconds = int((first - before).total_seconds())
    after = first.astimezone(zone).utcoffset()
    changed = bisect_left(
        range(seconds),
        True,
        key=lambda second: (
            (before + timedelta(seconds=second)).astimezone(zone).utcoffset() == after
        ),
    )
    return before + timedelta(seconds=changed)
