"""The guards: each refuses what it is for, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from etl.errors import GuardTripped
from etl.guards import (
    Known,
    LastRefill,
    RowBounds,
    disk_guard,
    freshness_problems,
    list_guards,
    returning_problems,
    row_guards,
    row_problems,
)
from etl.ports import ListDescription

BOUNDS = RowBounds(min_rows=None, max_shrink=0.2, max_growth=2.0)
LAST = LastRefill(rows_sent=1000, drop_order="20261124||a.csv", sha256="x")
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
DAY = timedelta(hours=24)


def tripped(rows, order="20261125||a.csv", last=LAST, bounds=BOUNDS, allowed=()):
    try:
        row_guards(rows, order, last, bounds, allowed)
    except GuardTripped as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (0, "no-rows"),
        (799, "shrunk"),
        (800, None),
        (1000, None),
        (2000, None),
        (2001, "grown"),
    ],
)
def test_rows_are_compared_with_the_last_refill(rows, code):
    """A drop may lose a fifth and double, not more, and is never empty."""
    assert tripped(rows) == code


def test_an_empty_drop_cannot_be_released():
    """No allowance lets an empty list be refilled."""
    every = ("no-rows", "shrunk", "grown", "min-rows", "first-refill", "outdated")
    assert tripped(0, allowed=every) == "no-rows"


def test_the_first_refill_needs_something_to_compare_with():
    """Without a former refill only min_rows or a release lets a drop pass."""
    assert tripped(10, last=None) == "first-refill"
    assert tripped(10, last=None, allowed=("first-refill",)) is None
    assert tripped(10, last=None, bounds=RowBounds(5, 0.2, 2.0)) is None
    assert tripped(4, last=None, bounds=RowBounds(5, 0.2, 2.0)) == "min-rows"


def test_min_rows_holds_even_beside_a_former_refill():
    """min_rows is asked at every drop, and can be released."""
    bounds = RowBounds(900, 0.2, 2.0)
    assert tripped(850, bounds=bounds) == "min-rows"
    assert tripped(850, bounds=bounds, allowed=("min-rows",)) is None


def test_an_older_drop_is_outdated():
    """A drop older than the one last refilled is held; the same drop again is not."""
    assert tripped(1000, order="20261123||a.csv") == "outdated"
    assert tripped(1000, order=LAST.drop_order) is None
    assert tripped(1000, order="20261123||a.csv", allowed=("outdated",)) is None


@pytest.mark.parametrize(("rows", "code"), [(10, "shrunk"), (5000, "grown")])
def test_a_release_is_for_its_own_code_alone(rows, code):
    """Allowing one guard lets no other one pass."""
    others = {"shrunk", "grown", "min-rows", "first-refill", "outdated"} - {code}
    assert tripped(rows, allowed=others) == code
    assert tripped(rows, allowed={code}) is None


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (ListDescription("CRM", False, ("a", "b")), None),
        (ListDescription("Other", False, ("a", "b")), "wrong-list"),
        (ListDescription("CRM", True, ("a", "b")), "test-list"),
        (ListDescription("CRM", False, ("a",)), "missing-attribute"),
    ],
)
def test_the_list_must_be_the_pinned_one(found, code):
    """Name, test flag and attributes are all looked at before a clear."""
    if code is None:
        list_guards(7, "CRM", ("a", "b"), found)
        return
    with pytest.raises(GuardTripped) as caught:
        list_guards(7, "CRM", ("a", "b"), found)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("completed", "shrunk", "code"),
    [
        (NOW - timedelta(hours=1), None, None),
        (NOW - timedelta(hours=24), None, None),
        (NOW - timedelta(hours=24, seconds=1), None, "suppression-stale"),
        (NOW + timedelta(hours=1), None, "suppression-stale"),
        (None, None, "suppression-missing"),
        (NOW, 100, "suppression-shrunk"),
        (NOW - timedelta(hours=25), 100, "suppression-shrunk"),
    ],
)
def test_suppression_data_must_be_there_whole_and_young(completed, shrunk, code):
    """Missing, old, from the future or shrunk: nothing is uploaded or refilled."""
    known = Known(completed, 9, 9, 5, shrunk)
    assert next((each.code for each in freshness_problems(known, NOW, DAY)), None) == code


def test_the_disk_floor_is_a_guard():
    """Less free space than needed trips, as much as needed does not."""
    disk_guard(10, 10)
    with pytest.raises(GuardTripped):
        disk_guard(9, 10)


def test_a_plan_hears_of_every_guard():
    """All that speak against it come, in the order in which they would trip."""
    bounds = RowBounds(min_rows=500, max_shrink=0.2, max_growth=2.0)
    codes = [each.code for each in row_problems(400, "2026", LAST, bounds)]
    assert codes == ["min-rows", "outdated", "shrunk"]
    assert [each.code for each in row_problems(0, "2026", LAST, bounds)] == ["no-rows"]
    late = freshness_problems(Known(NOW - 2 * DAY, 8, 9, 7, 100), NOW, DAY)
    assert [each.code for each in late] == [
        "store-shrunk", "suppression-shrunk", "suppression-stale",
    ]  # fmt: skip
    none = freshness_problems(Known(None, 0, 0, 0, None), NOW, DAY)
    assert [each.code for each in none] == ["suppression-missing"]


def test_an_allowed_guard_does_not_hide_the_next_one():
    """What is released is passed, what is not still trips."""
    bounds = RowBounds(min_rows=500, max_shrink=0.2, max_growth=2.0)
    assert tripped(400, bounds=bounds, allowed=("min-rows",)) == "shrunk"
    assert tripped(400, "2026", bounds=bounds, allowed=("min-rows", "shrunk")) == "outdated"


def test_nobody_returning_is_no_guard():
    """One is."""
    assert list(returning_problems(0)) == []
    (problem,) = returning_problems(3)
    assert (problem.code, problem.facts) == ("returning", {"returning": 3})
