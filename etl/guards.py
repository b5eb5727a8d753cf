"""The guards: pure decisions that refuse a step before it can do harm.

Row guards compare a drop with the last completed refill and can be released by an operator; world
guards compare Campaign and the suppression data with what is pinned and let go by themselves.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.errors import GuardTripped
from etl.ports import ListDescription

RELEASABLE = frozenset({"shrunk", "grown", "min-rows", "first-refill", "outdated", "returning"})
"""Guards of rows, which an operator may let a batch pass."""


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


def row_problems(
    rows: int, drop_order: str, last: LastRefill | None, bounds: RowBounds
) -> Iterator[GuardTripped]:
    """Every row guard that `rows` to send trip; `no-rows` is the only one of an empty list."""
    if rows <= 0:
        yield GuardTripped("no-rows", rows=rows)
        return
    if bounds.min_rows is not None and rows < bounds.min_rows:
        yield GuardTripped("min-rows", rows=rows, limit=bounds.min_rows)
    if last is None:
        if bounds.min_rows is None:
            yield GuardTripped("first-refill", rows=rows)
        return
    if drop_order < last.drop_order:
        yield GuardTripped("outdated", rows=rows)
    base = last.rows_sent
    if rows < (1 - bounds.max_shrink) * base:
        percent = round(100 * (base - rows) / base, 1)
        yield GuardTripped("shrunk", rows=rows, base=base, percent=percent)
    if rows > bounds.max_growth * base:
        growth = round(100 * (rows - base) / base, 1) if base else None
        yield GuardTripped("grown", rows=rows, base=base, percent=growth)


def row_guards(
    rows: int,
    drop_order: str,
    last: LastRefill | None,
    bounds: RowBounds,
    allowed: Collection[str] = (),
) -> None:
    """Raise the first of `row_problems` that is not allowed.

    `no-rows` cannot be allowed: an empty list is never refilled.
    """
    for problem in row_problems(rows, drop_order, last, bounds):
        if problem.code not in allowed or problem.code == "no-rows":
            raise problem


def returning_problems(returning: int) -> Iterator[GuardTripped]:
    """The guard of a rollback: nobody whom the newer content left out comes back unseen."""
    if returning:
        yield GuardTripped("returning", returning=returning)


def consent_problems(consents: Collection[str], expected: str) -> Iterator[GuardTripped]:
    """The guard of one consent a list: rows that were checked under another one stay out."""
    if set(consents) != {expected}:
        yield GuardTripped("other-consent", expected=expected)


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


@dataclass(frozen=True, slots=True)
class Known:
    """How much is known of who must not be mailed."""

    completed_at: datetime | None
    """The last fetch of every source."""
    entries: int
    """In the store; `counted` says how many there once were."""
    counted: int
    blocklist_entries: int
    """As last fetched; `shrunk_from` says how many there were when that were too few."""
    shrunk_from: int | None


def freshness_problems(known: Known, now: datetime, max_age: timedelta) -> Iterator[GuardTripped]:
    """Everything by which the suppression data is not there, whole and young enough.

    A fetch that completed in the future (a clock that jumped back) counts as stale.
    """
    if known.entries < known.counted:
        yield GuardTripped("store-shrunk", before=known.counted, now=known.entries)
    # Told first: a fetch that has shrunk never completes, so in time it would be called stale.
    if known.shrunk_from is not None:
        yield GuardTripped(
            "suppression-shrunk", before=known.shrunk_from, now=known.blocklist_entries
        )
    if known.completed_at is None:
        yield GuardTripped("suppression-missing")
        return
    age = now - known.completed_at
    if age > max_age or age < -timedelta(minutes=5):
        hours = round(age.total_seconds() / 3600, 1)
        limit = round(max_age.total_seconds() / 3600, 1)
        yield GuardTripped("suppression-stale", hours=hours, limit=limit)


def disk_guard(free_bytes: int, needed_bytes: int) -> None:
    """Raise GuardTripped when less than the floor is free (twice the drop)."""
    if free_bytes < needed_bytes:
        raise GuardTripped("disk-floor", free_bytes=free_bytes, needed_bytes=needed_bytes)
