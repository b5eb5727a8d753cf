"""A daemon that holds its drops for one cause, and goes on by itself when the cause is gone."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.network import NetRun
from tests.servers.aftermath import is_settled

NOWHERE = "https://127.0.0.1:1/"


def long(*values: object) -> object:
    """A case for the long form."""
    return pytest.param(*values, marks=pytest.mark.long)


def until(condition: Callable[[], Any], run: NetRun, seconds: float = 40) -> Any:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, run.words()
        time.sleep(0.02)
    return found


def codes(run: NetRun) -> list[str]:
    """What the drops are held for."""
    sql = "SELECT held_code FROM batches WHERE held_code NOTNULL ORDER BY name"
    return [row[0] for row in run.rows(sql)]


def held_tries(run: NetRun) -> int:
    """How often the most patient drop was held."""
    return max((row[0] for row in run.rows("SELECT held_tries FROM batches")), default=0)


def goes_on_by_itself(
    run: NetRun, code: str, lift: Callable[[], object], *, tries: int = 2, clears: int = 0
) -> None:
    """A daemon holds a drop for this code, several times; when the cause is gone all comes right.

    Every drop was held that often and nothing else before `lift` is called.
    """
    child = run.daemon()
    until(lambda: held_tries(run) >= tries and code in codes(run), run)
    assert set(codes(run)) <= {code}
    lift()
    until(lambda: is_settled(run.made, 2), run)
    until(lambda: len(run.made.receipts()) == 2, run)
    assert child.poll() is None, run.words()
    os.kill(child.pid, signal.SIGTERM)
    assert child.wait(40) == 0, run.words()
    run.must_be_true(deaths=clears)


def applied_clears(run: NetRun) -> int:
    """How often a list was cleared in fact."""
    calls = run.made.control.calls(since=run.first_call)
    mine = [call for call in calls if call["mandator"] == run.made.mandator]
    return sum(call["method"] == "clear" and call["applied"] for call in mine)


def lists_untouched(run: NetRun) -> bool:
    """Whether nobody was taken out of a list or put into one."""
    done = {call["method"] for call in run.made.control.calls(since=run.first_call)
            if call["mandator"] == run.made.mandator}  # fmt: skip
    return not done & {"clear", "addAll3", "removeUnsubscribed", "removeBlacklisted"}
