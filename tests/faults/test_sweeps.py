"""One accident at every place where it can happen in a plain history."""

from functools import partial

import pytest

from tests.faults.history.machine import History
from tests.faults.history.ports import fail, refuse, refuse_call


def two_drops(history: History) -> None:
    """Of two drops the newer one refills the list."""
    history.ordinary_drop("a", 12, 2)
    history.ordinary_drop("a", 10, 1, -1)


def refilled(history: History) -> None:
    """One drop has refilled the list."""
    history.ordinary_drop("a")
    history.go()


def left_partial(history: History) -> None:
    """One drop has begun to refill the list."""
    stop = history.trap(("lists", "add"), 1, 9, partial(fail, "lists", in_doubt=False))
    refilled(history)
    stop.times = 0


def refilled_twice(history: History) -> None:
    """A smaller drop has refilled the list after a first one."""
    refilled(history)
    history.ordinary_drop("a", 10)
    history.go()


def way_back(history: History) -> None:
    """What the list held before goes back into it."""
    history.ask_back("a", *(history.seen.way_back("a") or ("", "")), ("returning",))


SCENES = {
    "refill": (refilled, two_drops),
    "takeover": (left_partial, two_drops),
    "rollback": (refilled_twice, way_back),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_death_at_any_look_at_the_clock(scene):
    """The clock is asked between any two effects: dying at each such call keeps all promises."""
    before, then = SCENES[scene]
    for skip in range(500):
        with History() as history:
            before(history)
            history.dies_at(("clock", None), skip)
            then(history)
            history.go()
        if not history.seen.deaths:
            break
    assert 30 < skip < 499


def test_a_full_disk_at_any_row_of_the_journal():
    """Each row that cannot be written is waited for, and no promise is broken meanwhile."""
    for skip in range(500):
        with History() as history:
            trap = history.disk_fills(skip, 1)
            for size in (10, 11, 12):
                history.ordinary_drop("a", size)
                history.go()
        if trap.times:
            break
    assert 40 < skip < 499


def rename_and_refuse(history: History) -> None:
    """The list is called otherwise by the time the refill can go on."""
    history.twin.lists[100].name = "Renamed"
    refuse("lists")


HARM = {
    "away": lambda h: fail("lists", in_doubt=False),
    "doubt": lambda h: fail("lists", in_doubt=True),
    "lost": lambda h: fail("lists", in_doubt=True),
    "refused": lambda h: refuse("lists"),
    "fault": lambda h: refuse_call("made up"),
    "lost-and-fault": lambda h: refuse_call("made up"),
    "refused-then-renamed": rename_and_refuse,
    "wipe": lambda h: h.seen.others_write(100, 0, wipe=True, late=False),
    "write-a-stranger": lambda h: h.seen.others_write(100, 0, wipe=False, late=False),
    "write-the-first": lambda h: h.seen.others_write(100, 3, wipe=False, late=False),
    "write-the-last": lambda h: h.seen.others_write(100, 11, wipe=False, late=False),
    "no": lambda h: h.seen.say_no(11),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_at_any_call_of_the_list(harm):
    """Whatever one call of the list's port meets, all promises are kept."""
    for skip in range(100):
        with History() as history:
            history.ordinary_drop("a", 12, 5)
            history.go()
            act, after = partial(HARM[harm], history), harm.startswith("lost")
            trap = history.trap(("lists", None), skip, 1, act, after=after)
            history.ordinary_drop("a", 12)
            history.go()
            history.clock.advance(400)
            history.go()
        if trap.times:
            break
    assert 8 < skip < 99
