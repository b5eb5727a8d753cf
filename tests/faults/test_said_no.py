"""Somebody says no at any moment of a run: between any two calls to Campaign.

Visible at the last live check, the person is in no call that adds; before the remove calls, not in
the list at the end; later than that, gone with the next drop. The moments are counted in an
undisturbed run.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.campaign import write_figures
from tests.faults.two_feeds import DROPS, MEMORY, Servers, TwoFeeds

FIRST, LAST = "p1@example.org", "p25@example.org"
"""In the first chunk of the drop, and in the last."""
STAYS = "p12@example.org"


@pytest.fixture(scope="module")
def talkative() -> Iterator[Servers]:
    """Far sides that keep what was sent to them."""
    memory = MEMORY if MEMORY.is_dir() else None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        yield stack.enter_context(Servers(folder, options=["--bodies"]))


def calls_of(run: TwoFeeds) -> list[dict[str, Any]]:
    """What Campaign was asked in this run."""
    found: list[dict[str, Any]] = run.made.control.calls(since=run.first_call)
    return found


def moments(servers: Servers) -> list[str]:
    """The methods that an undisturbed run calls, in order."""
    with TwoFeeds(servers) as run:
        assert run.life() == 1  # a row was rejected
        run.must_be_true()
        return [call["method"] for call in calls_of(run)]


def says_no_before(servers: Servers, nth: int) -> str:
    """FIRST and LAST say no just before the nth call; returns what that meant."""
    with TwoFeeds(servers) as run:
        made = run.made
        made.control.schedule(
            "*", "verb-before", nth=nth, mandator=made.mandator, verb="unsubscribe",
            arguments={"mandator": made.mandator, "ids": [FIRST, LAST]},
        )  # fmt: skip
        assert run.life() == 1
        calls = calls_of(run)
        own = [n for n, call in enumerate(calls, 1) if call["list_id"] == made.first_list]
        (clear,) = (n for n in own if calls[n - 1]["method"] == "clear")
        asked = [n for n, call in enumerate(calls[:clear], 1) if call["method"] == "containsAll"]
        assert len(asked) == 2, "asked once before the upload and once before the clear"
        checked = asked[-1]
        removals = [n for n in own if calls[n - 1]["method"] == "removeUnsubscribed"]
        # Where nobody is removed, the last call about the list stands for it.
        removed = removals[0] if removals else own[-1]
        listed = set(made.list_ids(0))
        assert STAYS in listed
        added = [calls[n - 1]["body"] for n in own if calls[n - 1]["method"] == "addAll3"]
        sent = {who for who in (FIRST, LAST) if any(re.search(who, body) for body in added)}
        if nth <= checked:
            assert not sent, "added, though Campaign had told that they said no"
        if nth <= removed:
            assert not {FIRST, LAST} & listed, "in the list, though they said no before its end"
        # The next day they are in the drop still, as the CRM has not heard of it.
        made.drop("a_20261125.csv", DROPS["a.csv"])
        assert run.life() in (0, 1)
        assert not {FIRST, LAST} & set(made.list_ids(0)), "in the list still on the next day"
        assert STAYS in made.list_ids(0)
        return "not sent" if nth <= checked else "removed" if nth <= removed else "next day"


def say_no(servers: Servers, chosen: list[int]) -> dict[str, int]:
    """At these moments; how often it meant what."""
    meant = [says_no_before(servers, nth) for nth in chosen]
    return {each: meant.count(each) for each in ("not sent", "removed", "next day")}


def edges(methods: list[str]) -> list[int]:
    """Where the meaning of a no changes: at the live checks, the adding and the remove calls."""
    checks = [nth for nth, method in enumerate(methods, 1) if method == "containsAll"]
    added, last = methods.index("addAll3") + 1, "removeUnsubscribed"
    removed = methods.index(last) + 1 if last in methods else len(methods)
    edge = {1, checks[1], checks[1] + 1, added, added + 1, removed, removed + 1, len(methods)}
    return sorted(edge & set(range(1, len(methods) + 1)))


def test_a_no_at_some_moments(talkative: Servers) -> None:
    """Whoever says no is left out as soon as it can be seen, at the latest with the next drop."""
    meant = say_no(talkative, edges(moments(talkative)))
    assert min(meant.values()) > 0


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_no_at_any_moment(talkative: Servers) -> None:
    """The same between any two calls."""
    meant = say_no(talkative, list(range(1, len(moments(talkative)) + 1)))
    write_figures(kind="a no at any moment", tried=sum(meant.values()), meant=meant, violations=0)
    assert min(meant.values()) > 0
