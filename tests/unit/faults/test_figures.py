"""The figures of the long forms are added up once each."""

import json

from tests.faults.figures import added_up, table


def lines(*shares: dict[str, object]) -> list[str]:
    return [json.dumps(each) for each in shares]


def test_a_share_that_was_run_again_is_not_added_twice() -> None:
    """Of the same share the last line counts, of other parts and seeds all."""
    first = {"kind": "kills", "part": 0, "tried": 10, "violations": 1, "died": 9}
    again = {**first, "violations": 0, "died": 10}
    sums = added_up(lines(first, {**first, "part": 1}, again, {**first, "first_seed": 7}))
    assert sums["kills"] == {"shares": 3, "counted": 0, "tried": 30, "violations": 2, "died": 28}


def test_lines_that_differ_by_name_or_length_alone_are_all_shown() -> None:
    """Breakages and histories have no part: their name, or seed and length, tells them apart."""
    sums = added_up(lines(
        {"kind": "breakages", "name": "one", "tried": 1},
        {"kind": "breakages", "name": "another", "tried": 1},
        {"kind": "histories", "first": 0, "length": 6, "tried": 500, "deaths": 3},
        {"kind": "histories", "first": 0, "length": 8, "tried": 500, "deaths": 4},
    ))  # fmt: skip
    assert sums["breakages"]["tried"] == 2
    assert (sums["histories"]["tried"], sums["histories"]["deaths"]) == (1000, 7)


def test_what_is_to_be_tried_is_shown_beside_what_was() -> None:
    """What every part counts is no sum: the largest is shown."""
    share = {"kind": "kills", "tried": 1000, "violations": 0, "counted": 2000, "of": {"fsync": 2}}
    shown = table(added_up(lines({**share, "part": 0}, {**share, "part": 1, "counted": 2001})))
    assert shown.splitlines()[2:] == ["| kills | 2,000 of 2,001 | 0 | of fsync: 4 |"]
