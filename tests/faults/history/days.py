"""Steps of ordinary days: drops, the service at work, time."""

from datetime import UTC, datetime, timedelta

from tests.faults.history.drops import KINDS, NUMBERS
from tests.faults.history.machine import History
from tests.faults.history.step import NEXT, Steps

DAYS = Steps()


@DAYS.add(
    feed="aaabx", kind=KINDS, size=[10, 11, 12, 9, 5, 30], first=range(13),
    moved=[None] * 20 + list(NUMBERS), days=[1, 1, 1, 0, -1, -20],
    then=["wait", "go", "go", "once"],
)  # fmt: skip
def drop(h: History, feed, kind, size, first, moved, days, then):
    """A drop comes, under a new name or in place of one that waits."""
    made = h.new_drop(kind, size, first, moved)
    h.put(h.drop_path(feed, days), made.content)
    h.then(then)


@DAYS.add(size=[10, 11, 12], first=range(13), days=[1, 1, 1, -3], then=["go", "once"])
def ordinary_day(h: History, size, first, days, then):
    """A sound drop comes, on time or too late, and is worked on."""
    h.ordinary_drop("a", size, first, days)
    h.then(then)


@DAYS.add(feed="aab", days=[1, -1, 0, 0], then=["wait", "scan", "go"])
def begin_to_write(h: History, feed, days, then):
    """A drop is written half, perhaps over one that waits, and the writer pauses."""
    h.begin_to_write(h.drop_path(feed, days))
    if then == "scan":
        h.mortal(h.scan)
    h.then(then)


@DAYS.add()
def finish_writing(h: History):
    """The writer goes on and ends."""
    h.finish_writing()


@DAYS.add()
def scan(h: History):
    """One scan."""
    h.mortal(h.scan)


@DAYS.add()
def turn(h: History):
    """One round of work."""
    h.mortal(lambda: h.alive()._turn())


@DAYS.add()
def go(h: History):
    """The daemon's ordinary course for a while."""
    h.go()


@DAYS.add()
def once(h: History):
    """`etl once`."""
    h.once()


@DAYS.add(lets_go=[True, False])
def restart(h: History, lets_go):
    """The daemon is stopped and started."""
    h.end_process()
    if lets_go:
        h.mortal(lambda: h.alive()._let_go_at_start())


@DAYS.add(seconds=[60, 400, 400, 2000, 2000, 90_000, 8 * 86_400], then=NEXT)
def time_passes(h: History, seconds, then):
    """Minutes or days go by."""
    h.clock.advance(seconds)
    h.then(then)


@DAYS.add(to=[-3, -1, 1, -72, 72, 24 * 40, "1970", "2038", "right"], then=NEXT)
def wall_jumps(h: History, to, then):
    """Somebody sets the wall clock: by hours, by days, to where a machine without a battery is."""
    years = {
        "1970": datetime(1970, 1, 9, tzinfo=UTC),
        "2038": datetime(2038, 1, 20, tzinfo=UTC),
        "right": datetime(2026, 11, 24, 9, tzinfo=UTC) + timedelta(seconds=h.clock.seconds - 1000),
    }
    h.clock.now = years[to] if to in years else h.clock.now + timedelta(hours=to)
    h.clock.now = max(h.clock.now, years["1970"])
    h.then(then)
