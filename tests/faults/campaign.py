"""A campaign: many trials of one kind, each made whatever the others found, and then all told."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tests.faults.points import Point, points, tracing
from tests.faults.two_feeds import Servers, TwoFeeds

PARTS = 8
"""A long campaign comes in so many parts, each a test of its own."""
STOP = "ETL_FAULTS_STOP"
"""Set, a campaign ends at its first violation: enough for a breakage to be caught."""
T = TypeVar("T")


def points_of_a_run(servers: Servers, folder: Path) -> list[Point]:
    """Every point of an undisturbed run."""
    trace = folder / "counted"
    with TwoFeeds(servers) as run:
        assert run.life(tracing(trace)) == 1  # a row was rejected
        run.must_be_true()
    return points(trace.read_text())


def campaign(
    kind: str,
    trials: Iterable[T],
    make: Callable[[T], int],
    *,
    sums: str,
    at_least: float,
    sort: Callable[[T], str] = lambda _: "",
    **facts: Any,
) -> None:
    """Make every trial and note the figures; AssertionError in the end, with each violation.

    `make` returns what counts under the name of `sums`: whether, or how often, its fault was met;
    where that is `at_least` so much for a trial on the average, the campaign has shown something.
    `sort` says what is tried by a trial, for the figures.
    """
    wrong: list[str] = []
    sorts: Counter[str] = Counter()
    met = 0
    for trial in trials:
        sorts[sort(trial)] += 1
        try:
            met += make(trial)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told in the end
            wrong.append(f"{trial}: {type(error).__name__}: {str(error)[:800]}")
            if os.environ.get(STOP):
                break
    more = {"of": sorts} if set(sorts) != {""} else {}
    write_figures(
        kind=kind, tried=sorts.total(), violations=len(wrong), **{sums: met}, **facts, **more
    )
    assert wrong == []
    tried = sorts.total()
    assert tried, "nothing was tried"
    assert met / tried >= at_least, f"{sums}: {met} in {tried} trials"


def write_figures(**figures: Any) -> None:
    """Add one line to the file of figures, when one is wanted."""
    path = os.environ.get("ETL_FAULTS_FIGURES")
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps(figures) + "\n")


def my_share(points: Iterable[T], part: int, parts: int = PARTS) -> list[T]:
    """Every `parts`-th point, beginning with number `part`."""
    return list(points)[part::parts]
