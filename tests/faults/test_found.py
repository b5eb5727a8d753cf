"""Histories that once broke a promise, as plain as they can be told."""

from collections.abc import Callable
from functools import partial

from tests.faults.history.machine import History
from tests.faults.history.ports import Trap, die, fail, full_disk


def test_a_death_between_a_hold_and_its_receipt():
    """A batch that only a release lets go has its receipt, wherever the process died before."""
    for skip in range(100):
        # At rest every batch that waits has a receipt that says so.
        with History() as history:
            history.ordinary_drop("a", 12)
            history.go()
            history.dies_at(("clock", None), skip)
            history.ordinary_drop("a", 5)
            history.go()
        if not history.seen.deaths:
            break
    assert 10 < skip < 99


def test_rows_that_a_guard_holds_are_not_left_on_the_server():
    """What an earlier try put there is taken away, also when the drop waits for a release now."""
    with History() as history:
        history.ordinary_drop("a", 12)
        history.go()
        history.trap(("drop", "rename"), 0, 1, partial(fail, "drop", in_doubt=True))
        history.ordinary_drop("a", 10)
        history.go()
        assert [name.endswith(".part") for name in history.remote.files] == [False, True]
        for number in (2, 3, 4):
            history.seen.say_no(number)
        history.clock.advance(400)
        history.go()
        held = history.seen.rows("SELECT held_code FROM batches ORDER BY rowid")
        assert [row["held_code"] for row in held] == [None, "shrunk"]
        assert [name.endswith(".part") for name in history.remote.files] == [False]


def test_the_only_copy_of_a_drop_outlives_two_refills():
    """An end that could not be journalled is carried out later, and finds the drop's bytes."""
    with History() as history:
        history.ordinary_drop("a")
        trap = history.trap(("clock", "wall"), 0, 1, full_disk)
        trap.act = partial(once_refilled, history, trap, full_disk)
        history.go()
        held = history.seen.rows("SELECT place, held_code FROM batches")
        assert [tuple(row) for row in held] == [("REFILLED", "disk-error")]
        for _ in range(2):
            history.ordinary_drop("a")
            history.go()
        (original,) = (history.root / "state" / "batches").glob("*/original")
        assert original.read_bytes() in {drop.content for drop in history.seen.drops.values()}


def test_rows_are_not_kept_longer_because_ends_had_to_wait():
    """Only the rows of the last two refills stay, in whatever order ends are carried out."""
    with History() as history:
        history.ordinary_drop("a")
        history.go()
        history.take_away("receipts", mount_point=False)
        for _ in range(4):
            history.ordinary_drop("a")
            history.go()
        history.bring_back()
        history.clock.advance(60)
        history.go()
        assert len(list(history.root.glob("state/batches/*"))) == 2


def test_a_refilled_list_is_told_of_whatever_a_newer_drop_waits_for():
    """An end that a death put off needs no turn behind a newer drop that waits for people."""
    with History() as history:
        trap = history.trap(("clock", "wall"), 0, 1, die)
        trap.act = partial(once_refilled, history, trap, die)
        history.ordinary_drop("a")
        history.go()
        history.twin.poisoned = {f"p{number}@example.org" for number in (3, 4, 5, 6)}
        history.ordinary_drop("a")
        history.go()
        # At rest the older batch has ended.
        places = history.seen.rows("SELECT place, held_code FROM batches ORDER BY rowid")
        assert [tuple(row) for row in places][1] == ("REFILLING", "list-short")


def once_refilled(history: History, trap: Trap, act: Callable[[], None]) -> None:
    """Do something when a batch that is REFILLED is to end."""
    if history.seen.rows("SELECT 1 FROM batches WHERE place='REFILLED'"):
        act()
    trap.times += 1
