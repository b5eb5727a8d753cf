"""Settling: by our own clock or by a marker, never by the file's own times."""

from hypothesis import given
from hypothesis import strategies as st

from etl.extract.settle import Patience, Sighting, settle


def sight(size, inode=1):
    return Sighting(size, 5, 5, inode)


def scans(sizes, sightings=3, marked=None):
    """Names settled at each scan of one file with these sizes; None is a scan without it."""
    observed, told = {}, []
    patience = Patience(sightings, every_seconds=2.0)
    for number, size in enumerate(sizes):
        seen = {} if size is None else {"a.csv": sight(size)}
        observed, settled = settle(observed, seen, 2.0 * number, patience, marked or {})
        told.append(bool(settled))
    return told


def test_a_file_settles_at_the_third_equal_sighting():
    """Three equal scans settle a file, two do not."""
    assert scans([9, 9, 9]) == [False, False, True]


def test_a_burst_of_scans_confirms_nothing():
    """Scans that an event wakes lie close together: however many, they are one sighting."""
    patience, observed = Patience(3, every_seconds=2.0), {}
    for number in range(100):
        observed, settled = settle(observed, {"a": sight(9)}, number * 0.03, patience, {})
        assert settled == []
    _, settled = settle(observed, {"a": sight(9)}, 4.5, patience, {})
    assert settled == ["a"]


def test_growth_begins_anew():
    """Any change of size starts the count again."""
    assert scans([9, 9, 10, 10, 10]) == [False, False, False, False, True]


def test_a_file_that_went_away_begins_anew():
    """A gap forgets what was seen."""
    assert scans([9, 9, None, 9, 9]) == [False] * 5


def test_the_same_size_in_another_inode_begins_anew():
    """A file replaced by one of equal size has not settled."""
    patience = Patience(2, 2.0)
    observed, _ = settle({}, {"a": sight(9, 1)}, 0.0, patience, {})
    _, settled = settle(observed, {"a": sight(9, 2)}, 2.0, patience, {})
    assert settled == []


def test_a_marker_decides_alone():
    """With a done-marker feed the marker settles at once, and without it nothing does."""
    assert scans([9], marked={"a.csv": True}) == [True]
    assert scans([9] * 9, marked={"a.csv": False}) == [False] * 9


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
def test_settled_means_that_the_last_sightings_were_equal(sizes, sightings):
    """Whenever a file settles its last N sightings are the same, and the other way round."""
    for at, told in enumerate(scans(sizes, sightings)):
        last = sizes[max(0, at + 1 - sightings) : at + 1]
        assert told == (len(last) == sightings and len(set(last)) == 1)
