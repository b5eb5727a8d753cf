"""The guards: pure decisions that refuse a step before it can do harm.

Row guards compare a drop with the last completed refill and can be released by an operator; world
guards compare Campaign and the suppression data with what is pinned and let go by themselves.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.errors import GuardTripped
from etl.ports import ListDescription

RELEASABLE = frozenset({"shrunk", "grown", "min-rows", "first-refill", "outdated"})


@dataclass(frozen=True, slots=True)
class RowBounds:
    """How far a drop may differ from the last refill."""

    min_rows: int | None
    max_shrink: float
    """0.2: a drop with less than 80 % of the last refill's rows is held."""
    max_growth: float
    """2.0: a drop with more than twice the last refill's rows is held."""


@dataclass(frozen=True, slots=True)
class LastRefill:
    """The last completed refill of a feed: what the next drop is compared with."""

    rows_sent: int
    drop_order: str
    sha256: str


def row_guards(
    rows: int,
    drop_order: str,
    last: LastRefill | None,
    bounds: RowBounds,
    allowed: Collection[str] = (),
) -> None:
    """Raise GuardTripped for the first row guard that `rows` to send trips and none allowed.

    `no-rows` cannot be allowed: an empty list is never refilled.
    """
    if rows <= 0:
        raise GuardTripped("no-rows", rows=rows)
    if bounds.min_rows is not None and rows < bounds.min_rows and "min-rows" not in allowed:
        raise GuardTripped("min-rows", rows=rows, limit=bounds.min_rows)
    if last is None:
        if bounds.min_rows is None and "first-refill" not in allowed:
            raise GuardTripped("first-refill", rows=rows)
        return
    if drop_order < last.drop_order and "outdated" not in allowed:
        raise GuardTripped("outdated", rows=rows)
    base = last.rows_sent
    if rows < (1 - bounds.max_shrink) * base and "shrunk" not in allowed:
        percent = round(100 * (base - rows) / base, 1)
        raise GuardTripped("shrunk", rows=rows, base=base, percent=percent)
    if rows > bounds.max_growth * base and "grown" not in allowed:
        growth = round(100 * (rows - base) / base, 1) if base else None
        raise GuardTripped("grown", rows=rows, base=base, percent=growth)


def list_problems(
    list_id: int, pinned_name: str, attributes: Sequence[str], found: ListDescription
) -> Iterator[GuardTripped]:
    """Everything by which `found` is not the pinned list, no test list, with all attributes."""
    if found.name != pinned_name:
        yield GuardTripped("wrong-list", list_id=list_id, name=found.name, expected=pinned_name)
    if found.is_test:
        yield GuardTripped("test-list", list_id=list_id)
    missing = [name for name in attributes if name not in found.attributes]
    if missing:
        yield GuardTripped("missing-attribute", list_id=list_id, attributes=", ".join(missing))


def list_guards(
    list_id: int, pinned_name: str, attributes: Sequence[str], found: ListDescription
) -> None:
    """Raise the first of `list_problems`."""
    for problem in list_problems(list_id, pinned_name, attributes, found):
        raise problem


def freshness_guard(
    completed_at: datetime | None, shrunk_from: int | None, entries: int, now: datetime,
    max_age: timedelta,
) -> None:  # fmt: skip
    """Raise GuardTripped unless the suppression data is there, whole and young enough.

    A fetch that completed in the future (a clock that jumped back) counts as stale.
    """
    # Asked first: a fetch that has shrunk never completes, so in time it would be called stale.
    if shrunk_from is not None:
        raise GuardTripped("suppression-shrunk", before=shrunk_from, now=entries)
    if completed_at is None:
        raise GuardTripped("suppression-missing")
    age = now - completed_at
    if age > max_age or age < -timedelta(minutes=5):
        hours = round(age.total_seconds() / 3600, 1)
        limit = round(max_age.total_seconds() / 3600, 1)
        raise GuardTripped("suppression-stale", hours=hours, limit=limit)


def disk_guard(free_bytes: int, needed_bytes: int) -> None:
    """Raise GuardTripped when less than the floor is free (twice the drop)."""
    if free_bytes < needed_bytes:
        raise GuardTripped("disk-floor", free_bytes=free_bytes, needed_bytes=needed_bytes)
