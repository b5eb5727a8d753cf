"""Killed at any step of the bytes on the ssh line: all promises are kept.

The SFTP client talks in a thread of its own, whose calls are no points of `test_every_call`; what
it has sent and heard is known to a proxy, which kills the process when so many bytes are reached,
before they are passed on and after.
"""

import contextlib
import os
import random
import signal
from dataclasses import dataclass
from typing import Literal

import pytest

from tests.faults.campaign import PARTS, campaign, my_share
from tests.faults.network import Counted, Lines, NetRun, counted
from tests.servers.fault_proxy import Cut, Way
from tests.servers.nursery import Child


@dataclass(frozen=True, slots=True)
class Moment:
    """A step of bytes in one direction, and on which side of it the process dies."""

    way: Way
    at: int
    """Bytes of this direction before it."""
    when: Literal["before", "after"]

    @property
    def sort(self) -> str:
        """For the figures."""
        return f"{self.when} {self.way}"


def moments(usual: Counted) -> list[Moment]:
    """Both sides of every step in either direction."""
    ways: tuple[Way, Way] = ("up", "down")
    return [
        moment
        for way in ways
        for at in usual.steps["sftp", way]
        for moment in (Moment(way, at, "before"), Moment(way, at, "after"))
    ]


def dies_on_the_line(lines: Lines, moment: Moment) -> bool:
    """One death at a step, one clean life; False when the life ended before it came there."""
    lines.clean()
    with NetRun(lines) as run:
        children: list[Child] = []

        def kill() -> None:
            # It may have ended by itself just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(children[0].pid, signal.SIGKILL)

        children.append(run.born(stopped=True))
        lines.tcp.plan(Cut(moment.when, moment.way, moment.at, deed=kill))
        children[0].go()
        died = children[0].wait() == -signal.SIGKILL
        run.killed += died
        lines.clean()
        run.somebody_leaves()
        if moment.when == "after":
            run.consumer_takes()
        run.comes_to_rest()
        run.must_be_true(deaths=1)
        return died


@pytest.fixture(scope="module")
def usual(lines: Lines) -> Counted:
    """An undisturbed run."""
    return counted(lines)


def test_some_deaths_on_the_ssh_line(lines: Lines, usual: Counted) -> None:
    """A process killed at any of these bytes has delivered each file once when all is at rest."""
    every = moments(usual)
    assert len(every) > 60
    chance = random.Random(20261124)
    rename = Moment("up", usual.rename_of_a(), "after")
    died = [dies_on_the_line(lines, each) for each in [rename, *chance.sample(every, 5)]]
    assert sum(died) >= 5


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_death_on_the_ssh_line(lines: Lines, usual: Counted, part: int) -> None:
    """At every step of either direction, before it and after it, counted in this very run."""
    every = moments(usual)
    campaign(
        "kills on the ssh line", my_share(every, part),
        lambda moment: dies_on_the_line(lines, moment), sums="died", at_least=0.9,
        sort=lambda moment: moment.sort, part=part, counted=len(every),
    )  # fmt: skip
