"""Histories that once broke a promise, as plain as they can be told."""

from functools import partial

from tests.faults.test_history import History, Trap, fail


def test_a_death_between_a_hold_and_its_receipt():
    """A batch that only a release lets go has its receipt, wherever the process died before."""
    for skip in range(100):
        history = History()
        try:
            history._ordinary_drop("a", 12)
            history.go()
            history._dies_at("clock", None, skip, after=False)
            history._ordinary_drop("a", 5)
            history.go()
        finally:
            # At rest every batch that waits has a receipt that says so.
            history.teardown()
        if not history.deaths:
            break
    assert 10 < skip < 99


def test_rows_that_a_guard_holds_are_not_left_on_the_server():
    """What an earlier try put there is taken away, also when the drop waits for a release now."""
    history = History()
    try:
        history._ordinary_drop("a", 12)
        history.go()
        doubt = partial(fail, "drop", in_doubt=True)
        history.traps.append(Trap("drop", "rename", 0, 1, False, doubt))
        history._ordinary_drop("a", 10)
        history.go()
        assert [name.endswith(".part") for name in history.remote.files] == [False, True]
        for number in (2, 3, 4):
            history._say_no(number, told=False)
        history.clock.advance(400)
        history.go()
        assert [row["held_code"] for row in history.rows("SELECT * FROM batches")] == [
            None,
            "shrunk",
        ]
        assert [name.endswith(".part") for name in history.remote.files] == [False]
    finally:
        history.teardown()
